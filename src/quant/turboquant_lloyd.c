/* turboquant_lloyd.c: the quantiser of least mean squared error for a density (Lloyd 1957, Max 1960), in double.
 *
 * The optimum is where each centroid is the mean of its cell and cells meet midway between centroids. Alternating the
 * two conditions needs tens of thousands of rounds at 256 levels; here the equations c_i - mean_i(c) = 0, of which
 * each has three neighbouring unknowns, are solved by Newton steps. Both densities are log-concave, so the solution
 * is the only one (Kieffer 1983).
 *
 * A density is given in a coordinate u in which it is smooth: u = x for the normal variable, x = sin u for a
 * coordinate of a unit vector. Integrals are 8-point Gauss-Legendre sums over panels that are narrow beside it. */
#include "quant/turboquant.h"

#include <math.h>

#define MAX_LEVELS 1024
#define MAX_DIM (1u << 20)
#define MAX_STEPS 100

typedef struct density {
    double dim; /* 0: normal of the given variance; else one coordinate of a unit vector in so many dims */
    double variance;
    double end;   /* u runs from -end to end */
    double panel; /* widest panel */
} density;

static density normal(double variance) {
    double deviation = sqrt(variance);
    return (density){.variance = variance, .end = 38 * deviation, .panel = deviation};
}

static density sphere(double dim) {
    double width = 1 / sqrt(dim);
    return (density){.dim = dim, .end = acos(-1.0) / 2, .panel = width < 0.25 ? width : 0.25};
}

/* Mass per du, up to a factor. */
static double weight(const density *f, double u) {
    return f->dim ? pow(cos(u), f->dim - 2) : exp(-u * u / (2 * f->variance));
}
static double value(const density *f, double u) { return f->dim ? sin(u) : u; }
static double coordinate(const density *f, double x) { return f->dim ? asin(x) : x; }
/* Mass per dx at a boundary x, in the unit of weight. */
static double height(const density *f, double x) {
    return f->dim ? pow(1 - x * x, (f->dim - 3) / 2) : exp(-x * x / (2 * f->variance));
}

static const double nodes[4] = {0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363};
static const double parts[4] = {0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763};

/* Adds the mass and first moment of [a, b] in u. */
static void integrate(const density *f, double a, double b, double *mass, double *moment) {
    const double count = ceil((b - a) / f->panel);
    const double half = (b - a) / (2 * count);
    for (double k = 0; k < count; k++) {
        const double middle = a + (2 * k + 1) * half;
        for (int i = 0; i < 8; i++) {
            const double u = middle + (i % 2 ? half : -half) * nodes[i / 2];
            const double w = half * parts[i / 2] * weight(f, u);
            *mass += w;
            *moment += w * value(f, u);
        }
    }
}

/* c_i = value at which the mass below is (i + 1/2) / n of all. */
static void quantiles(const density *f, uint32_t n, double *c) {
    double total = 0, unused = 0, below = 0, left = -f->end;
    integrate(f, -f->end, f->end, &total, &unused);
    uint32_t i = 0;
    while (i < n && left < f->end) {
        const double right = fmin(left + f->panel, f->end);
        double mass = 0;
        integrate(f, left, right, &mass, &unused);
        for (; i < n && below + mass >= total * (i + 0.5) / n; i++) {
            double low = left, high = right;
            for (int k = 0; k < 50; k++) {
                const double middle = 0.5 * (low + high);
                double part = 0;
                integrate(f, left, middle, &part, &unused);
                *(below + part < total * (i + 0.5) / n ? &low : &high) = middle;
            }
            c[i] = value(f, 0.5 * (low + high));
        }
        below += mass;
        left = right;
    }
}

/* The step d of Newton's method at c: solves the tridiagonal system J d = mean(c) - c. work: n doubles. J is
 * diagonally dominant, so elimination needs no exchange of rows. */
static void newton_step(const density *f, uint32_t n, const double *c, double *d, double *work) {
    double left = -f->end, left_height = 0;
    for (uint32_t i = 0; i < n; i++) {
        const bool is_last = i + 1 == n;
        const double edge = is_last ? 0 : 0.5 * (c[i] + c[i + 1]);
        const double right = is_last ? f->end : coordinate(f, edge);
        const double right_height = is_last ? 0 : height(f, edge);
        double mass = 0, moment = 0;
        integrate(f, left, right, &mass, &moment);
        const double mean = moment / mass;
        /* Half the change of the mean as either boundary moves: a boundary moves half as far as a centroid. */
        const double lower = i ? 0.5 * left_height * (mean - 0.5 * (c[i - 1] + c[i])) / mass : 0;
        const double upper = is_last ? 0 : 0.5 * right_height * (edge - mean) / mass;
        const double pivot = 1 - lower - upper - (i ? lower * work[i - 1] : 0);
        work[i] = upper / pivot; /* J is 1 - lower - upper on the diagonal, -lower and -upper beside it */
        d[i] = (mean - c[i] + (i ? lower * d[i - 1] : 0)) / pivot;
        left = right;
        left_height = right_height;
    }
    for (uint32_t i = n - 1; i-- > 0;) d[i] += work[i] * d[i + 1];
}

/* c += d, or as much of it as leaves the centroids in order and inside. Returns the largest change. */
static double take_step(const density *f, uint32_t n, double *c, const double *d) {
    const double bound = value(f, f->end);
    double largest = 0;
    for (double part = 1; part > 1e-9; part *= 0.5) {
        bool is_good = c[0] + part * d[0] > -bound && c[n - 1] + part * d[n - 1] < bound;
        for (uint32_t i = 1; i < n && is_good; i++) is_good = c[i] + part * d[i] > c[i - 1] + part * d[i - 1];
        if (!is_good) continue;
        for (uint32_t i = 0; i < n; i++) {
            c[i] += part * d[i];
            largest = fmax(largest, fabs(part * d[i]));
        }
        return largest;
    }
    return INFINITY;
}

/* `start`: a density whose quantiles lie about where the centroids will. */
static mlxn_status solve(const density *f, const density *start, uint32_t n, double *c, mlxn_error *error) {
    double *memory = mlxn_alloc_array(2 * (size_t)n, sizeof *memory);
    if (!memory) return mlxn_fail(error, MLXN_ERR_MEMORY, "turboquant codebook: no memory for %u levels", n);
    quantiles(start, n, c);
    double change = INFINITY, before;
    const double width = f->dim ? 1 / sqrt(f->dim) : 1, fine = 1e-12 * width;
    int step = 0;
    do {
        before = change;
        newton_step(f, n, c, memory, memory + n);
        change = take_step(f, n, c, memory);
        /* Steps shrink quadratically until they are rounding, which may lie above `fine` when levels are many. */
    } while (change > fine && !(change < 1e-8 * width && change > 0.5 * before) && ++step < MAX_STEPS);
    mlxn_free(memory);
    if (step == MAX_STEPS || !isfinite(change))
        return mlxn_fail(error, MLXN_ERR_INTERNAL, "turboquant codebook: %u levels moved by %g in step %d, want %g",
                         n, change, step, fine);
    for (uint32_t i = 0; i < n - i; i++) {
        const double half = 0.5 * (c[n - 1 - i] - c[i]);
        c[i] = -half;
        c[n - 1 - i] = half;
    }
    if (n % 2) c[n / 2] = 0; /* not -0 */
    return mlxn_succeed(error);
}

static mlxn_status check_levels(uint32_t levels, const double *out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant codebook: out is NULL, want %u doubles", levels);
    if (levels < 1 || levels > MAX_LEVELS)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant codebook: levels is %u, want 1 to %d", levels,
                         MAX_LEVELS);
    return MLXN_OK;
}

/* The best density of centroids is the cube root of that of the values: variance times 3, or (dim - 3) / 3. */
mlxn_status mlxn_turboquant_lloyd_max(uint32_t levels, double *out, mlxn_error *error) {
    mlxn_status status = check_levels(levels, out, error);
    if (status) return status;
    const density f = normal(1), start = normal(3);
    return solve(&f, &start, levels, out, error);
}

mlxn_status mlxn_turboquant_lloyd_max_beta(uint32_t dim, uint32_t levels, double *out, mlxn_error *error) {
    mlxn_status status = check_levels(levels, out, error);
    if (status) return status;
    if (dim < 3 || dim > MAX_DIM)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant codebook: dim is %u, want 3 to %u", dim, MAX_DIM);
    const density f = sphere(dim), start = sphere(2 + dim / 3.0);
    return solve(&f, &start, levels, out, error);
}
