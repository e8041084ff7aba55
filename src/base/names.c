/* names.c: names and texts of status codes and element types, and the version: the public part of base. */
#include "base/base.h"

static const struct {
    const char *name, *text;
} statuses[] = {
    [MLXN_OK] = {"OK", "The call succeeded."},
    [MLXN_ERR_ARGUMENT] = {"ARGUMENT", "An argument, shape, element type or option is wrong."},
    [MLXN_ERR_STATE] = {"STATE", "The object is not in a state that allows the call."},
    [MLXN_ERR_MEMORY] = {"MEMORY", "An allocation failed."},
    [MLXN_ERR_IO] = {"IO", "A file could not be opened, read, written or mapped."},
    [MLXN_ERR_FORMAT] = {"FORMAT", "A file breaks the rules of its format."},
    [MLXN_ERR_UNSUPPORTED] = {"UNSUPPORTED", "The request is valid, but this build or device has no code for it."},
    [MLXN_ERR_NOT_FOUND] = {"NOT_FOUND", "There is no tensor, key, kernel, model or device of that name."},
    [MLXN_ERR_DEVICE] = {"DEVICE", "The device or its driver is absent or broken."},
    [MLXN_ERR_EXECUTION] = {"EXECUTION", "Work that was submitted to a device failed."},
    [MLXN_ERR_TIMEOUT] = {"TIMEOUT", "The time allowed for a wait ran out."},
    [MLXN_ERR_CANCELLED] = {"CANCELLED", "The work was cancelled by its owner."},
    [MLXN_ERR_LIMIT] = {"LIMIT", "A configured limit would be passed."},
    [MLXN_ERR_COMPILE] = {"COMPILE", "Kernel source did not compile."},
    [MLXN_ERR_INTERNAL] = {"INTERNAL", "A defect of mlxn itself; please report it."},
};
enum { STATUS_COUNT = sizeof statuses / sizeof statuses[0] };

const char *mlxn_status_name(mlxn_status status) {
    return (unsigned)status < STATUS_COUNT ? statuses[status].name : "UNKNOWN";
}

const char *mlxn_status_text(mlxn_status status) {
    return (unsigned)status < STATUS_COUNT ? statuses[status].text : "The status code is none that mlxn defines.";
}

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *mlxn_version(void) { return VERSION_TEXT(MLXN_VERSION_MAJOR, MLXN_VERSION_MINOR, MLXN_VERSION_PATCH); }

static const char *const dtype_names[MLXN_DTYPE_COUNT] = {
    [MLXN_F32] = "f32", [MLXN_F16] = "f16", [MLXN_BF16] = "bf16", [MLXN_U8] = "u8",
    [MLXN_U16] = "u16", [MLXN_U32] = "u32", [MLXN_I32] = "i32",
};
const uint8_t mlxn_dtype_bytes[MLXN_DTYPE_COUNT] = {
    [MLXN_F32] = 4, [MLXN_F16] = 2, [MLXN_BF16] = 2, [MLXN_U8] = 1, [MLXN_U16] = 2, [MLXN_U32] = 4, [MLXN_I32] = 4,
};

size_t mlxn_dtype_size(mlxn_dtype dtype) { return (unsigned)dtype < MLXN_DTYPE_COUNT ? mlxn_dtype_bytes[dtype] : 0; }

const char *mlxn_dtype_name(mlxn_dtype dtype) {
    return (unsigned)dtype < MLXN_DTYPE_COUNT ? dtype_names[dtype] : "?";
}

bool mlxn_dtype_parse(const char *name, mlxn_dtype *out) {
    for (unsigned i = 0; name && i < MLXN_DTYPE_COUNT; i++) {
        if (strcmp(name, dtype_names[i]) == 0) {
            *out = (mlxn_dtype)i;
            return true;
        }
    }
    return false;
}
