/* tests.c: the tests of Jinja2, "x is name". */
#include "lm/jinja/internal.h"

#define TYPE_TEST(name, condition)                                                   \
    static jn_value test_##name(jn_run *r, const jn_value *a, const jn_args *args) { \
        (void)r, (void)args;                                                         \
        return jn_bool(condition);                                                   \
    }
TYPE_TEST(defined, a->type != JN_UNDEFINED)
TYPE_TEST(undefined, a->type == JN_UNDEFINED)
TYPE_TEST(none, a->type == JN_NONE)
TYPE_TEST(boolean, a->type == JN_BOOL)
TYPE_TEST(true, a->type == JN_BOOL && a->b)
TYPE_TEST(false, a->type == JN_BOOL && !a->b)
TYPE_TEST(integer, a->type == JN_INT)
TYPE_TEST(float, a->type == JN_FLOAT)
TYPE_TEST(number, jn_is_number(*a))
TYPE_TEST(string, a->type == JN_STRING)
TYPE_TEST(mapping, a->type == JN_MAP)
TYPE_TEST(iterable, mlxn_jn_iterable(*a))
TYPE_TEST(sequence, a->type == JN_STRING || a->type == JN_MAP || a->type == JN_UNDEFINED ||
                        (a->type == JN_LIST && a->list->kind <= JN_RANGE))
TYPE_TEST(callable, a->type == JN_FUNCTION || a->type == JN_UNDEFINED ||
                        (a->type == JN_OBJECT && (a->object->kind == JN_LOOP || a->object->kind == JN_JOINER)))
TYPE_TEST(escaped, a->type == JN_STRING && a->s->safe)
TYPE_TEST(filter, a->type == JN_STRING && (mlxn_jn_find_builtin(mlxn_jn_filters_text, a->s) ||
                                           mlxn_jn_find_builtin(mlxn_jn_filters_list, a->s) ||
                                           mlxn_jn_find_builtin(mlxn_jn_filters_data, a->s)))
TYPE_TEST(test, a->type == JN_STRING && mlxn_jn_find_builtin(mlxn_jn_tests, a->s))

/* -1: what is no number */
static int64_t rest_of(jn_run *r, jn_value v, jn_value by) {
    jn_value rest = mlxn_jn_binary(r, '%', v, by);
    return jn_is_number(rest) ? jn_double_of(rest) == 0 ? 0 : jn_double_of(rest) == 1 ? 1 : 2 : -1;
}
TYPE_TEST(odd, rest_of(r, *a, jn_int(2)) == 1)
TYPE_TEST(even, rest_of(r, *a, jn_int(2)) == 0)
TYPE_TEST(divisibleby, rest_of(r, a[0], a[1]) == 0)
TYPE_TEST(in, mlxn_jn_contains(r, a[1], a[0]))
TYPE_TEST(eq, mlxn_jn_equal(r, a[0], a[1]))
TYPE_TEST(ne, !mlxn_jn_equal(r, a[0], a[1]))

static bool ordered(jn_run *r, const jn_value *a, const char *op) {
    int o = mlxn_jn_order(r, a[0], a[1], op);
    if (o == 2) return false;
    return op[0] == '<' ? o < 0 || (op[1] && o == 0) : o > 0 || (op[1] && o == 0);
}
TYPE_TEST(lt, ordered(r, a, "<"))
TYPE_TEST(le, ordered(r, a, "<="))
TYPE_TEST(gt, ordered(r, a, ">"))
TYPE_TEST(ge, ordered(r, a, ">="))

/* Identity: of values that Python keeps once, or of the same object. */
static bool same(jn_value a, jn_value b) {
    if (a.type != b.type) return false;
    switch (a.type) {
        case JN_BOOL:
            return a.b == b.b;
        case JN_INT:
            return a.i == b.i;
        case JN_FLOAT:
            return a.f == b.f;
        case JN_STRING:
            return a.s == b.s || (a.s->size == b.s->size && !memcmp(a.s->data, b.s->data, a.s->size));
        case JN_LIST:
            return a.list == b.list;
        case JN_MAP:
            return a.map == b.map;
        case JN_OBJECT:
            return a.object == b.object;
        case JN_FUNCTION:
            return a.function == b.function;
        default:
            return true;
    }
}
TYPE_TEST(sameas, same(a[0], a[1]))

/* All cased characters have that case, and there is one. */
static bool has_case(jn_run *r, jn_value v, jn_case want) {
    const jn_string *s = mlxn_jn_str(r, v);
    jn_value changed = mlxn_jn_change_case(r, s, want),
             other = mlxn_jn_change_case(r, s, want == JN_UPPER ? JN_LOWER : JN_UPPER);
    jn_value text = {.type = JN_STRING, .s = s};
    return mlxn_jn_equal(r, text, changed) && !mlxn_jn_equal(r, text, other);
}
TYPE_TEST(upper, has_case(r, *a, JN_UPPER))
TYPE_TEST(lower, has_case(r, *a, JN_LOWER))

const jn_builtin mlxn_jn_tests[] = {{"defined", test_defined, "", 0},
                                    {"undefined", test_undefined, "", 0},
                                    {"none", test_none, "", 0},
                                    {"boolean", test_boolean, "", 0},
                                    {"true", test_true, "", 0},
                                    {"false", test_false, "", 0},
                                    {"integer", test_integer, "", 0},
                                    {"float", test_float, "", 0},
                                    {"number", test_number, "", 0},
                                    {"string", test_string, "", 0},
                                    {"mapping", test_mapping, "", 0},
                                    {"iterable", test_iterable, "", 0},
                                    {"sequence", test_sequence, "", 0},
                                    {"callable", test_callable, "", 0},
                                    {"escaped", test_escaped, "", 0},
                                    {"filter", test_filter, "", 0},
                                    {"test", test_test, "", 0},
                                    {"odd", test_odd, "", 0},
                                    {"even", test_even, "", 0},
                                    {"divisibleby", test_divisibleby, "num", 1},
                                    {"in", test_in, "seq", 1},
                                    {"sameas", test_sameas, "other", 1},
                                    {"upper", test_upper, "", 0},
                                    {"lower", test_lower, "", 0},
                                    {"eq", test_eq, "other", 1},
                                    {"==", test_eq, "other", 1},
                                    {"equalto", test_eq, "other", 1},
                                    {"ne", test_ne, "other", 1},
                                    {"!=", test_ne, "other", 1},
                                    {"lt", test_lt, "other", 1},
                                    {"<", test_lt, "other", 1},
                                    {"lessthan", test_lt, "other", 1},
                                    {"le", test_le, "other", 1},
                                    {"<=", test_le, "other", 1},
                                    {"gt", test_gt, "other", 1},
                                    {">", test_gt, "other", 1},
                                    {"greaterthan", test_gt, "other", 1},
                                    {"ge", test_ge, "other", 1},
                                    {">=", test_ge, "other", 1},
                                    {0}};
