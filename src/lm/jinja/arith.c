/* arith.c: the operators of arithmetic, with Python's rules. Integers have 64 bits; beyond them is an error. */
#include <math.h>

#include "lm/jinja/internal.h"

static const char *op_text(int op) {
    static const char *const one[] = {"+", "-", "*", "/", "%"};
    if (op == JN_OP_FLOORDIV) return "//";
    if (op == JN_OP_POW) return "** or pow()";
    return one[op == '+' ? 0 : op == '-' ? 1 : op == '*' ? 2 : op == '/' ? 3 : 4];
}

_Noreturn static void too_big(jn_run *r, int op) {
    mlxn_jn_type_error(r, "the result of %s does not fit into 64 bits", op == JN_OP_POW ? "**" : op_text(op));
}

static jn_value power(jn_run *r, int64_t base, int64_t exponent) {
    int64_t result = 1;
    while (exponent) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) too_big(r, JN_OP_POW);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) too_big(r, JN_OP_POW);
    }
    return jn_int(result);
}

static jn_value integers(jn_run *r, int op, int64_t a, int64_t b) {
    int64_t c = 0;
    switch (op) {
        case '+':
            if (__builtin_add_overflow(a, b, &c)) too_big(r, op);
            return jn_int(c);
        case '-':
            if (__builtin_sub_overflow(a, b, &c)) too_big(r, op);
            return jn_int(c);
        case '*':
            if (__builtin_mul_overflow(a, b, &c)) too_big(r, op);
            return jn_int(c);
        case JN_OP_POW:
            if (b >= 0) return power(r, a, b);
            if (!a) mlxn_jn_type_error(r, "zero to a negative power");
            return jn_float(pow((double)a, (double)b));
        default:
            break;
    }
    if (!b) mlxn_jn_type_error(r, op == '/' ? "division by zero" : "integer division or modulo by zero");
    if (op == '/') return jn_float((double)a / (double)b);
    if (b == -1) {
        if (op == '%') return jn_int(0);
        if (__builtin_sub_overflow((int64_t)0, a, &c)) too_big(r, op);
        return jn_int(c);
    }
    int64_t quotient = a / b, rest = a % b;
    if (rest && (rest < 0) != (b < 0)) {
        quotient--;
        rest += b;
    }
    return jn_int(op == '%' ? rest : quotient);
}

static jn_value doubles(jn_run *r, int op, double a, double b) {
    switch (op) {
        case '+':
            return jn_float(a + b);
        case '-':
            return jn_float(a - b);
        case '*':
            return jn_float(a * b);
        case JN_OP_POW: {
            if (a == 0 && b < 0) mlxn_jn_type_error(r, "zero to a negative power");
            if (a < 0 && isfinite(b) && b != floor(b)) mlxn_jn_type_error(r, "complex numbers are not supported");
            double p = pow(a, b);
            if (isinf(p) && isfinite(a) && isfinite(b)) mlxn_jn_type_error(r, "numerical result out of range");
            return jn_float(p);
        }
        default:
            break;
    }
    if (b == 0) mlxn_jn_type_error(r, op == '/' ? "division by zero" : "float floor division or modulo by zero");
    if (op == '/') return jn_float(a / b);
    double rest = fmod(a, b), quotient = (a - rest) / b;
    if (rest != 0) {
        if ((b < 0) != (rest < 0)) {
            rest += b;
            quotient -= 1;
        }
    } else {
        rest = copysign(0, b);
    }
    if (op == '%') return jn_float(rest);
    if (quotient == 0) return jn_float(copysign(0, a / b));
    double floored = floor(quotient);
    return jn_float(quotient - floored > 0.5 ? floored + 1 : floored);
}

static jn_value repeat(jn_run *r, jn_value v, int64_t times) {
    if (times < 0) times = 0;
    if (v.type == JN_STRING) {
        jn_out out = {0};
        if (v.s->size)
            for (int64_t i = 0; i < times; i++) {
                mlxn_jn_charge(r, v.s->size);
                mlxn_jn_put(r, &out, v.s->data, v.s->size);
            }
        return mlxn_jn_out_string(r, &out);
    }
    jn_value out = mlxn_jn_list_new(r, v.list->kind);
    if (v.list->n)
        for (int64_t i = 0; i < times; i++)
            for (size_t k = 0; k < v.list->n; k++) mlxn_jn_append(r, out, v.list->v[k]);
    return out;
}

static bool is_sequence(jn_value v) { return v.type == JN_STRING || (v.type == JN_LIST && v.list->kind <= JN_TUPLE); }

static jn_value join(jn_run *r, jn_value a, jn_value b) {
    if (a.type == JN_STRING) {
        bool safe = a.s->safe || b.s->safe;
        if (safe) {
            a = mlxn_jn_escape(r, a);
            b = mlxn_jn_escape(r, b);
        }
        jn_out out = {.data = mlxn_jn_alloc(r, a.s->size + b.s->size), .room = a.s->size + b.s->size};
        mlxn_jn_put(r, &out, a.s->data, a.s->size);
        mlxn_jn_put(r, &out, b.s->data, b.s->size);
        jn_value v = mlxn_jn_out_string(r, &out);
        if (safe) ((jn_string *)v.s)->safe = true; /* nobody else has it yet */
        return v;
    }
    jn_value out = mlxn_jn_list_new(r, a.list->kind);
    for (size_t i = 0; i < a.list->n; i++) mlxn_jn_append(r, out, a.list->v[i]);
    for (size_t i = 0; i < b.list->n; i++) mlxn_jn_append(r, out, b.list->v[i]);
    return out;
}

jn_value mlxn_jn_binary(jn_run *r, int op, jn_value a, jn_value b) {
    if (jn_is_int(a) && jn_is_int(b)) return integers(r, op, jn_int_of(a), jn_int_of(b));
    if (jn_is_number(a) && jn_is_number(b)) return doubles(r, op, jn_double_of(a), jn_double_of(b));
    if (op == '%' && a.type == JN_STRING) {
        if (b.type == JN_LIST && b.list->kind == JN_TUPLE) return mlxn_jn_percent(r, a.s, b.list->v, b.list->n, NULL);
        return mlxn_jn_percent(r, a.s, &b, 1, b.type == JN_MAP ? b.map : NULL);
    }
    if (a.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, a);
    if (b.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, b);
    if (op == '*' && is_sequence(a) && jn_is_int(b)) return repeat(r, a, jn_int_of(b));
    if (op == '*' && is_sequence(b) && jn_is_int(a)) return repeat(r, b, jn_int_of(a));
    if (op == '+' && is_sequence(a) && a.type == b.type && (a.type == JN_STRING || a.list->kind == b.list->kind))
        return join(r, a, b);
    if (op == '+' && a.type == JN_STRING)
        mlxn_jn_type_error(r, "can only concatenate str (not \"%s\") to str", mlxn_jn_type_name(b));
    if (op == '+' && is_sequence(a))
        mlxn_jn_type_error(r, "can only concatenate %s (not \"%s\") to %s", mlxn_jn_type_name(a),
                           mlxn_jn_type_name(b), mlxn_jn_type_name(a));
    mlxn_jn_type_error(r, "unsupported operand type(s) for %s: '%s' and '%s'", op_text(op), mlxn_jn_type_name(a),
                       mlxn_jn_type_name(b));
}

jn_value mlxn_jn_negate(jn_run *r, jn_value v) {
    if (v.type == JN_FLOAT) return jn_float(-v.f);
    if (jn_is_int(v)) return integers(r, '-', 0, jn_int_of(v));
    if (v.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, v);
    mlxn_jn_type_error(r, "bad operand type for unary -: '%s'", mlxn_jn_type_name(v));
}
