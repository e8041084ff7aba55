/* attention_args.h: the one argument of the kernels of attention, as host and device see it. */
#ifndef MLXN_SRC_CUDA_ATTENTION_ARGS_H
#define MLXN_SRC_CUDA_ATTENTION_ARGS_H

enum {
    CUDA_ATTENTION_BLOCK = 128,
    CUDA_ATTENTION_KEYS = 64,    /* that a block has at a time */
    CUDA_ATTENTION_VALUES = 512, /* most channels of a value */
    CUDA_ATTENTION_QUERY = 1024  /* most channels of a key */
};

typedef struct cuda_attention_args {
    unsigned long long q, k, v, sequences, positions, sinks, mask, out; /* addresses; 0: absent */
    long long qs[3], ks[4], vs[4], ms[3], os[3]; /* strides, of the mask by token, head, slot */
    long long sequence, position, sink;
    unsigned long long n_sequences, slots;
    unsigned heads, group;           /* of q; of them, those that read the same head of the caches */
    unsigned dk, dv, dv_threads;     /* dv_threads: threads that share out the channels of a value, a power of 2 */
    unsigned q_type, k_type, v_type; /* 0 f32, 1 f16, 2 bf16 */
    unsigned mask_type;              /* the same, and 3: bytes */
    unsigned visible, window;        /* mlxn_attention_mask */
    unsigned k_packed;               /* rows of k are whole packs at multiples of 16 bytes */
    float scale, softcap, alibi_max_bias;
} cuda_attention_args;

#endif
