/* schema_number.c: integers and numbers between bounds, as ranges of digits. */
#include "lm/grammar/schema.h"

#include <math.h>
#include <stdio.h>

#define LARGEST 999999999999999999 /* 18 digits: where no bound says otherwise */
enum { MAX_DIGITS = 20, BOUNDED_DIGITS = 15 /* so many are told apart by double precision */ };

/* ---- ranges of digits ---- */

static bool all_are(const char *digits, int n, char c) {
    for (int i = 0; i < n; i++)
        if (digits[i] != c) return false;
    return true;
}

/* Numbers of n digits from `low` to `high`, leading zeros included. */
static void put_digits(mlxn_sc_text *text, const char *low, const char *high, int n) {
    static const char zeros[] = "00000000000000000000", nines[] = "99999999999999999999";
    if (n == 0) {
        mlxn_sc_put(text, "\"\"");
    } else if (all_are(low, n, '0') && all_are(high, n, '9')) {
        mlxn_sc_put(text, "[0-9]{%d}", n);
    } else if (low[0] == high[0]) {
        mlxn_sc_put(text, "\"%c\" ", low[0]);
        put_digits(text, low + 1, high + 1, n - 1);
    } else {
        char first = low[0], last = high[0];
        mlxn_sc_put(text, "(");
        if (!all_are(low + 1, n - 1, '0')) {
            mlxn_sc_put(text, "\"%c\" ", first++);
            put_digits(text, low + 1, nines, n - 1);
            mlxn_sc_put(text, " | ");
        }
        if (!all_are(high + 1, n - 1, '9')) {
            mlxn_sc_put(text, "\"%c\" ", last--);
            put_digits(text, zeros, high + 1, n - 1);
            mlxn_sc_put(text, "%s", first <= last ? " | " : "");
        }
        if (first <= last) mlxn_sc_put(text, "[%c-%c] [0-9]{%d}", first, last, n - 1);
        mlxn_sc_put(text, ")");
    }
}

/* Whole numbers from low to high without leading zeros, as one element. */
static void put_range(mlxn_sc_text *text, uint64_t low, uint64_t high) {
    mlxn_sc_put(text, "(");
    for (uint64_t from = low, end = 9; from <= high; from = end + 1, end = end > UINT64_MAX / 10 ? UINT64_MAX : end) {
        char a[MAX_DIGITS + 1], b[MAX_DIGITS + 1];
        while (end < from) end = end > (UINT64_MAX - 9) / 10 ? UINT64_MAX : end * 10 + 9;
        int n = snprintf(a, sizeof a, "%llu", (unsigned long long)from);
        snprintf(b, sizeof b, "%llu", (unsigned long long)(end < high ? end : high));
        mlxn_sc_put(text, "%s", from == low ? "" : " | ");
        put_digits(text, a, b, n);
        if (end == UINT64_MAX) break;
    }
    mlxn_sc_put(text, ")");
}

/* ---- bounds ---- */

typedef struct limit {
    bool given, open; /* open: the value itself is not allowed */
    int64_t value;
} limit;

/* One keyword; `whole` numbers are what it bounds, so that a fraction may be rounded towards what is allowed. */
static mlxn_sc_result read_limit(mlxn_schema *s, const json_t *flat, const char *keyword, bool lower, bool open,
                                 bool whole, limit *out) {
    const json_t *value = json_object_get(flat, keyword);
    if (!value) return MLXN_SC_OK;
    if (!json_is_number(value)) return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"%s\" is no number", keyword);
    limit found = {true, open, json_integer_value(value)};
    if (json_is_real(value)) {
        double real = json_real_value(value), rounded = lower ? ceil(real) : floor(real);
        if (rounded != real && !whole)
            return mlxn_sc_unsupported(s, keyword, "bounds of numbers have to be whole, or the type an integer");
        if (fabs(rounded) > 9e18) {
            if ((rounded > 0) != lower) return MLXN_SC_OK; /* no bound for what is written with 18 digits */
            return mlxn_sc_unsupported(s, keyword, "it is beyond 64 bits");
        }
        found.value = (int64_t)rounded;
        found.open = open && rounded == real;
    }
    if (found.value == INT64_MIN)
        found.value++; /* its magnitude has 63 bits then; 19 digits are not reached anyway */
    if (whole && found.open) {
        found.open = false;
        found.value += lower ? 1 : -1;
    }
    bool tighter = lower ? found.value > out->value : found.value < out->value;
    if (!out->given || tighter || (found.value == out->value && found.open)) *out = found;
    return MLXN_SC_OK;
}

static mlxn_sc_result read_limits(mlxn_schema *s, const json_t *flat, bool whole, limit *low, limit *high) {
    mlxn_sc_result result = read_limit(s, flat, "minimum", true, false, whole, low);
    if (!result) result = read_limit(s, flat, "exclusiveMinimum", true, true, whole, low);
    if (!result) result = read_limit(s, flat, "maximum", false, false, whole, high);
    if (!result) result = read_limit(s, flat, "exclusiveMaximum", false, true, whole, high);
    return result;
}

static mlxn_sc_result add_integer(mlxn_schema *s, limit low, limit high, char out[MLXN_SC_EXPRESSION]) {
    int64_t a = low.given ? low.value : -LARGEST, b = high.given ? high.value : LARGEST;
    if (!low.given && a > b) a = -INT64_MAX;
    if (!high.given && a > b) b = INT64_MAX;
    if (a > b) return MLXN_SC_NEVER;
    mlxn_sc_text body = {0};
    if (b >= 0) put_range(&body, a > 0 ? (uint64_t)a : 0, (uint64_t)b);
    if (a < 0) {
        mlxn_sc_put(&body, "%s\"-\" ", b >= 0 ? " | " : "");
        put_range(&body, b < 0 ? (uint64_t)-b : 1, (uint64_t)-a);
    }
    mlxn_sc_new_rule(s, out);
    return mlxn_sc_add_rule(s, out, &body);
}

/* Numbers of no sign from low to high with up to `digits` behind the point; *n counts alternatives. */
static void put_numbers(mlxn_sc_text *body, limit low, limit high, int digits, const char *sign, int *n) {
    uint64_t a = (uint64_t)low.value, b = high.given ? (uint64_t)high.value : LARGEST;
    if (a > b) return;
    if (a == b && high.given) {
        if (low.open || high.open) return;
        mlxn_sc_put(body, "%s%s\"%llu\" (\".\" \"0\"{1,%d})?", (*n)++ ? " | " : "", sign, (unsigned long long)a,
                    digits);
        return;
    }
    mlxn_sc_put(body, "%s%s\"%llu\"", (*n)++ ? " | " : "", sign, (unsigned long long)a);
    if (low.open)
        mlxn_sc_put(body, " \".\" \"0\"{0,%d} [1-9] [0-9]{0,%d}", digits - 1, digits); /* more than the bound */
    else
        mlxn_sc_put(body, " (\".\" [0-9]{1,%d})?", digits);
    uint64_t last = high.given ? b - 1 : b;
    if (a < last) {
        mlxn_sc_put(body, " | %s", sign);
        put_range(body, a + 1, last);
        mlxn_sc_put(body, " (\".\" [0-9]{1,%d})?", digits);
    }
    if (high.given && !high.open)
        mlxn_sc_put(body, " | %s\"%llu\" (\".\" \"0\"{1,%d})?", sign, (unsigned long long)b, digits);
}

static int count_digits(int64_t value) {
    char text[32];
    return snprintf(text, sizeof text, "%llu", (unsigned long long)(value < 0 ? -value : value));
}

static mlxn_sc_result add_number(mlxn_schema *s, limit low, limit high, char out[MLXN_SC_EXPRESSION]) {
    int whole = 1, n = 0;
    if (low.given) whole = count_digits(low.value);
    if (high.given && count_digits(high.value) > whole) whole = count_digits(high.value);
    if (whole >= BOUNDED_DIGITS)
        return mlxn_sc_unsupported(s, low.given && count_digits(low.value) == whole ? "minimum" : "maximum",
                                   "a bound of a number has fewer than 15 digits");
    int digits = BOUNDED_DIGITS - whole;
    mlxn_sc_text body = {0};
    if (!high.given || high.value >= 0) {
        limit from = low.given && low.value >= 0 ? low : (limit){true, false, 0};
        put_numbers(&body, from, high, digits, "", &n);
    }
    if (!low.given || low.value < 0) { /* magnitudes; zero has no sign */
        limit from = high.given && high.value < 0 ? (limit){true, high.open, -high.value} : (limit){true, true, 0};
        limit to = {low.given, low.open, low.given ? -low.value : 0};
        put_numbers(&body, from, to, digits, "\"-\" ", &n);
    }
    if (!n) {
        mlxn_free(body.data);
        return MLXN_SC_NEVER;
    }
    mlxn_sc_new_rule(s, out);
    return mlxn_sc_add_rule(s, out, &body);
}

mlxn_sc_result mlxn_sc_number(mlxn_schema *s, json_t *flat, bool integer, char out[MLXN_SC_EXPRESSION]) {
    const json_t *multiple = json_object_get(flat, "multipleOf");
    limit low = {0}, high = {0};
    if (multiple && !json_is_number(multiple))
        return mlxn_sc_fail(s, MLXN_ERR_FORMAT, "keyword \"multipleOf\" is no number");
    if (multiple && !(integer && json_number_value(multiple) == 1))
        return mlxn_sc_unsupported(s, "multipleOf", "integers may have 1");
    mlxn_sc_result result = read_limits(s, flat, integer, &low, &high);
    if (result) return result;
    if (!low.given && !high.given) {
        strcpy(out, mlxn_sc_common(s, integer ? "integer" : "number"));
        return MLXN_SC_OK;
    }
    return integer ? add_integer(s, low, high, out) : add_number(s, low, high, out);
}
