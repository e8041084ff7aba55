/* tok_samples.h: small tokenizer.json texts that together hold every part there is: for the tests of errors and the
 * seeds of the fuzz target. The first one is what tests/unit/tok_json.c encodes with. */
#ifndef MLXN_TESTS_TOK_SAMPLES_H
#define MLXN_TESTS_TOK_SAMPLES_H

#include <stdbool.h>

#define SAMPLE_SPLIT(regex, behavior) \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"" behavior "\",\"invert\":false}"
#define SAMPLE_WORDS \
    "\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0,\"ab\":1,\"?\":2,\"12\":3},\"unk_token\":\"?\"}"
#define SAMPLE_ADDED                                                                                        \
    "\"added_tokens\":[{\"id\":7,\"content\":\"<s>\",\"special\":true},{\"id\":8,\"content\":\"Q\"},"       \
    "{\"id\":9,\"content\":\"</s>\",\"special\":true},{\"id\":10,\"content\":\" aa\",\"single_word\":true," \
    "\"lstrip\":true,\"rstrip\":true,\"normalized\":false}],"

static const char *const tok_samples[] = {
    "{\"added_tokens\":[{\"id\":7,\"content\":\"<s>\",\"special\":true},{\"id\":8,\"content\":\"Q\"},"
    "{\"id\":9,\"content\":\"</s>\",\"special\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Lowercase\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},\"content\":\"b\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},"
    "{\"type\":\"Metaspace\",\"replacement\":\"_\"}]},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
    "{\"Sequence\":{\"id\":\"A\"}}],\"pair\":[{\"Sequence\":{\"id\":\"A\"}},{\"Sequence\":{\"id\":\"B\"}}],"
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[7],\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Metaspace\",\"replacement\":\"_\"},"
    "{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"_\":3,\"_ab\":4,\"1\":5,"
    "\"?\":6},\"merges\":[\"a b\",[\"_\",\"ab\"]]}}",
    "{" SAMPLE_ADDED
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
    "\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"</s>\",9],\"cls\":[\"<s>\",7]},"
    "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},"
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"a\",\"continuing_subword_prefix\":\"##\","
    "\"max_input_chars_per_word\":10,\"vocab\":{\"a\":0,\"##b\":1,\"caf\":2,\"##e\":3,\"12\":4}}}",
    "{" SAMPLE_ADDED
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"},{\"type\":\"NFD\"},"
    "{\"type\":\"Strip\"},"
    "{\"type\":\"StripAccents\"},{\"type\":\"NFKD\"},{\"type\":\"NFC\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"first\"},"
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"always\"},"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":true,\"vocab\":[[\"<unk>\",0],"
    "[\"\xe2\x96\x81\",-2],"
    "[\"a\",-1.5],[\"ab\",-2.5e0],[\"caf\",-3],[\"<0xC3>\",-9],[\"<0xA9>\",-9]]}}",
    "{\"normalizer\":{\"type\":\"Precompiled\","
    "\"precompiled_charsmap\":\"DAAAAAAEAAABAAAAAAAAgGEA\"}," SAMPLE_WORDS "}",
    "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
    "\"use_regex\":true}]},"
    "{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"},{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"s\"},"
    "{\"type\":\"FixedLength\",\"length\":3}]},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
    "{\"type\":\"RobertaProcessing\",\"sep\":[\"a\",0],\"cls\":[\"ab\",1]}]}," SAMPLE_WORDS "}",
    "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" SAMPLE_SPLIT(
        "(?i:'s|'t)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}+|\\\\s+(?!\\\\S)|\\\\s+",
        "Isolated") "," SAMPLE_SPLIT("[a-z&&[^b-d]]|[[:alpha:]\\\\W]|(?<n>x)\\\\k<n>",
        "MergedWithNext") "," SAMPLE_SPLIT(
        "(?m:.)(?x) a # c",
        "MergedWithPrevious") ",{\"type\":\"UnicodeScripts\"},{\"type\":\"Whitespace\"}]}," SAMPLE_WORDS "}",
    "{\"pre_tokenizer\":" SAMPLE_SPLIT("(a+)+$|(?:x?){9}b|\\\\b|\\\\h", "Removed") ",\"decoder\":{\"type\":\"CTC\","
    "\"pad_token\":\"a\",\"word_delimiter_token\":\"|\",\"cleanup\":true}," SAMPLE_WORDS "}",
    "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"_\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"},{\"type\":\"Append\",\"append\":\"_\"},"
    "{\"type\":\"ByteLevel\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
    "\"pattern\":{\"Regex\":\"_+\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},"
    "\"model\":{\"vocab\":{\"<unk>\":0,\"a\":1,\"##a\":2,\"aa\":3,\"<0x62>\":4,\"##b\":5,\"a##b\":6,\"ab\":7},"
    "\"merges\":[\"a ##a\",[\"a\",\"##b\"]],\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,"
    "\"ignore_merges\":true,\"continuing_subword_prefix\":\"##\"}}",
    "{\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"decoder\":{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"},"
    "\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0,\"b</w>\":1,\"ab</w>\":2},"
    "\"merges\":[\"a b</w>\"]}}",
};

#endif
