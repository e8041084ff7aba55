/* pretokenizers.c: the table of pretokenizers.h. The expressions are those that the models' makers published. */
#include "convert/pretokenizers.h"

#include <stddef.h>

#define LLAMA3(numbers)                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" numbers \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"                                          \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SPLIT "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
#define BEHIND_SPLIT "},\"behavior\":\"Isolated\",\"invert\":false}," MLXN_CV_BYTE_LEVEL("false") "]}"
#define DIGITS                                                                                   \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true}" \
    "," MLXN_CV_BYTE_LEVEL("true") "]}"

const mlxn_cv_pretokenizer mlxn_cv_pretokenizers[] = {
    {"gpt-2", "null", MLXN_CV_BYTE_LEVEL("true"), NULL, "", false, false},
    {"smollm", "null", DIGITS, NULL, "", true, false},
    {"qwen2", "{\"type\":\"NFC\"}", SPLIT, LLAMA3(""), BEHIND_SPLIT, false, false},
    {"llama-bpe", "null", SPLIT, LLAMA3("{1,3}"), BEHIND_SPLIT, false, true},
    {NULL, NULL, NULL, NULL, NULL, false, false},
};
