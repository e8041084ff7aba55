/* bound.c: rounding units of the float types. */
#include "ops/bound.h"

#include <math.h>

double mlxn_bound_unit(mlxn_dtype dtype, double value) {
    double a = fabs(value);
    if (!(a <= 3.5e38)) a = 3.5e38;
    switch (dtype) {
        case MLXN_F16:
            return a * 0x1p-10 + 0x1p-24;
        case MLXN_BF16:
            return a * 0x1p-7 + 0x1p-133;
        default:
            return a * 0x1p-23 + 0x1p-149;
    }
}
