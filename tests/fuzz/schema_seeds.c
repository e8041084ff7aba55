/* schema_seeds.c FOLDER: writes the seeds of fuzz_schema: schemas with every keyword that is read. */
#include <stdio.h>
#include <string.h>

static const char *const seeds[] = {
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":-5,\"exclusiveMaximum\":300},\"b\":"
    "{\"type\":"
    "\"string\"}},\"required\":[\"b\"],\"additionalProperties\":{\"type\":[\"null\",\"boolean\"]},\"minProperties\":"
    "1}",
    "{\"type\":\"array\",\"prefixItems\":[{\"const\":1},{\"enum\":[\"x\",null,{\"y\":[1.5]}]}],\"items\":{\"type\":"
    "\"number\","
    "\"minimum\":0,\"maximum\":1},\"minItems\":1,\"maxItems\":5}",
    "{\"$ref\":\"#/$defs/"
    "n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{},\"k\":{\"type\":\"array\",\"items\":"
    "{\"$ref\":\"#/$defs/n\"}}},\"additionalProperties\":false}}}",
    "{\"anyOf\":[{\"type\":\"string\",\"minLength\":1,\"maxLength\":4},{\"pattern\":\"^[a-f\\\\d]{2,3}(x|y)?."
    "\\\\u00e9$\"}]}",
    "{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\"}},\"required\":[\"k\"]},{\"type\":"
    "\"object\","
    "\"properties\":{\"k\":{\"const\":\"b\"}},\"required\":[\"k\"]}]}",
    "{\"allOf\":[{\"properties\":{\"a\":{\"minimum\":1}},\"required\":[\"a\"]},{\"properties\":{\"a\":{\"type\":"
    "\"integer\"},"
    "\"b\":true},\"additionalProperties\":false}]}",
    "{\"type\":\"string\",\"format\":\"date-time\"}",
    "{\"format\":\"uuid\",\"title\":\"t\",\"default\":1}",
    "{\"type\":\"number\",\"exclusiveMinimum\":-2,\"maximum\":12.0}",
    "{\"properties\":{\"na\":{},\"name\":{},\"n\\\"\":{}},\"additionalProperties\":true,\"required\":[\"z\"]}",
    "{\"type\":\"array\",\"uniqueItems\":true}",
    "{\"not\":{}}",
    "{\"items\":[{\"type\":\"null\"}],\"additionalItems\":false}",
    "true",
    "{}",
};

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed-%02zu.schema", argv[1], i);
        FILE *f = fopen(path, "wb");
        size_t n = strlen(seeds[i]);
        if (!f || fwrite(seeds[i], 1, n, f) != n || fclose(f)) {
            perror(path);
            return 1;
        }
    }
    return 0;
}
