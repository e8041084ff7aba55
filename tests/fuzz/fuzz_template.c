/* Promise: whatever text a template has, compiling and rendering it end soon, with a text or with an error that has a
 * message, and give back all memory. Entry point for libFuzzer and for fuzz_driver.c. */
#include <mlxn/chat.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char context[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi \xc3\xa9\"},{\"role\":\"assistant\",\"content\":null}],"
        "\"tools\":[{\"function\":{\"name\":\"f\"}}],\"n\":3,\"f\":2.5,\"l\":[3,1,2],\"s\":\"a b\",\"d\":{\"a\":1}}";
    mlxn_template_desc desc = {.struct_size = sizeof desc,
                               .variables = context,
                               .variables_bytes = sizeof context - 1,
                               .max_steps = 50000,
                               .max_memory = 8 << 20,
                               .max_output = 1 << 20,
                               .now = 1721995200};
    uint64_t live = mlxn_alloc_live();
    mlxn_template *t = NULL;
    char *text = NULL;
    mlxn_error error = {0};
    mlxn_status status = mlxn_template_compile((const char *)data, size, "fuzz", &t, &error);
    if (status == MLXN_OK) status = mlxn_template_render(t, &desc, &text, NULL, &error);
    require(status == MLXN_OK ? text != NULL : !text && error.message[0] && status != MLXN_ERR_INTERNAL);
    mlxn_free(text);
    mlxn_template_destroy(&t);
    require(mlxn_alloc_live() == live);
    return 0;
}
