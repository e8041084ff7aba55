/* mlxn/device.h: devices, their properties, gates and counters.
 *
 * A device is one execution engine: the CPU with a pool of worker threads, or the null device, which records
 * what it is told and computes nothing. Devices are counted: create gives one reference; retain and release may be
 * called from any thread. A device stays alive while buffers, encoders, sessions or work in flight use it. */
#ifndef MLXN_DEVICE_H
#define MLXN_DEVICE_H

#include <mlxn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_device mlxn_device;

/* How the device may compute. */
typedef enum mlxn_precision {
    MLXN_PRECISION_FAST = 0, /* 16-bit fixed-point activations where a kernel's documented bound allows it */
    MLXN_PRECISION_F32 = 1   /* 32-bit activations and sums everywhere: the trustworthy path */
} mlxn_precision;

/* Instruction sets of the CPU device; a device uses the intersection of its mask and what the machine has. */
enum {
    MLXN_ISA_AVX2 = 1u << 0,   /* AVX2, FMA, F16C, BMI2 */
    MLXN_ISA_AVX512 = 1u << 1, /* AVX-512 F, BW, DQ, VL */
    MLXN_ISA_VNNI = 1u << 2    /* AVX-512 VNNI */
};
#define MLXN_ISA_ALL 0xffffffffu /* no enumerator: ISO C keeps those within int */

typedef void (*mlxn_log_fn)(void *user, const char *line);

/* Zero every field that you do not set: zero is the default. */
typedef struct mlxn_device_desc {
    uint32_t struct_size;     /* sizeof(mlxn_device_desc) */
    uint32_t index;           /* which device of the backend */
    const char *backend;      /* "cpu" (default when NULL), "null" */
    uint32_t threads;         /* CPU: executing threads, the caller's included; 0 = one per available core */
    mlxn_precision precision; /* see above */
    uint32_t isa_mask;        /* CPU: MLXN_ISA_* allowed; 0 = all */
    uint32_t no_isa;          /* CPU: nonzero = no instruction set beyond the base of the architecture */
    uint64_t memory_limit; /* bytes that the device may hold (see mlxn_device_info.memory_used); 0 = none. What would
                              pass it is refused with MLXN_ERR_LIMIT before it is allocated */
    mlxn_log_fn log;       /* receives one line per notable event; may be called from any thread */
    void *log_user;
    bool no_stream; /* null: record no text (mlxn_device_command_stream), for runs without end */
    bool checked; /* host access that meets work in flight is an error of STATE (buffer.h); costs a search per access
                   */
    /* Command buffers hold no references to buffers, as with MLX_UNRETAINED_REFS=1: recording is cheaper, and a
     * buffer whose last handle goes is freed once no command buffer can name it, which may be later than its own last
     * use. */
    bool unretained;
} mlxn_device_desc;

/* `desc` may be NULL (the default CPU device). On failure *out is NULL.
 * Errors: NOT_FOUND (unknown backend or index), DEVICE, MEMORY, ARGUMENT. */
MLXN_API mlxn_status mlxn_device_create(const mlxn_device_desc *desc, mlxn_device **out, mlxn_error *error);
MLXN_API mlxn_device *mlxn_device_retain(mlxn_device *device);
/* Drops one reference and sets *device to NULL. NULL and *device == NULL are fine. */
MLXN_API void mlxn_device_release(mlxn_device **device);

typedef struct mlxn_device_info {
    uint32_t struct_size;
    const char *backend; /* "cpu" */
    const char *name;    /* "AMD EPYC …"; valid while the device lives */
    uint32_t threads;    /* executing threads; of a GPU its multiprocessors */
    uint32_t isa;        /* MLXN_ISA_* in use */
    mlxn_precision precision;
    bool host_visible;     /* buffers can be read and written through mlxn_buffer_contents */
    bool computes;         /* false for the null device: results are not values */
    uint64_t memory_total; /* bytes of memory that the device can use, 0 if unknown */
    uint64_t memory_free;  /* now, 0 if unknown */
    /* Bytes that this device holds: buffers (those of pools too), packed weights and the work memory of its threads.
     * Memory that is only wrapped does not count. On the null device, which keeps no weights, weights count with the
     * bytes of their own format. */
    uint64_t memory_used;
    uint64_t memory_peak;    /* the largest memory_used so far */
    uint64_t memory_limit;   /* 0 if none */
    uint64_t memory_buffers; /* the parts of memory_used */
    uint64_t memory_weights;
    uint64_t memory_scratch;
} mlxn_device_info;

/* Sets out->struct_size bytes at most; set it first. */
MLXN_API mlxn_status mlxn_device_get_info(mlxn_device *device, mlxn_device_info *out);

/* Would `bytes` more fit into the memory limit now? Nothing is taken: ask for the sum of what is to come, so that
 * refusal comes before work. `what` names it in the error. LIMIT with the bytes wanted, in use, and allowed. */
MLXN_API mlxn_status mlxn_device_admit(mlxn_device *device, uint64_t bytes, const char *what, mlxn_error *error);

/* The backends of this build, in order of preference; NULL past the end. */
MLXN_API const char *mlxn_backend_name(uint32_t i);
/* Number of devices of a backend; 0 with a reason and its cure in *error when there is none. */
MLXN_API uint32_t mlxn_backend_device_count(const char *backend, mlxn_error *error);

/* True if allocations join the device's residency set (always a hint; the counters count calls either way).
 * False if HF2Q_NO_RESIDENCY was 1 at the first device creation of the process. */
MLXN_API bool mlxn_device_residency_sets_enabled(const mlxn_device *device);

/* ---- queues ---- */

/* A queue executes its command buffers in commit order, asynchronously; two queues of a device are ordered by
 * timelines alone (encoder.h). Every device has a default queue, which encoders and sessions use unless told
 * otherwise. Counted; any thread. */
typedef struct mlxn_queue mlxn_queue;

/* One more queue. It lives while handles, encoders or work in flight use it. Errors: MEMORY, DEVICE. */
MLXN_API mlxn_status mlxn_queue_create(mlxn_device *device, mlxn_queue **out, mlxn_error *error);
/* Borrowed: lives as long as the device. */
MLXN_API mlxn_queue *mlxn_device_queue(mlxn_device *device);
MLXN_API mlxn_queue *mlxn_queue_retain(mlxn_queue *queue);
MLXN_API void mlxn_queue_release(mlxn_queue **queue);
/* Borrowed. */
MLXN_API mlxn_device *mlxn_queue_device(const mlxn_queue *queue);
/* The first failure of a command buffer on this queue, kept until it is cleared; it does not stop later work. */
MLXN_API mlxn_status mlxn_queue_status(mlxn_queue *queue, mlxn_error *error);
MLXN_API void mlxn_queue_clear_status(mlxn_queue *queue);
/* Waits until everything committed to the queue before this call has completed. timeout_ns: UINT64_MAX = for ever.
 * Errors: TIMEOUT, with the label of the first command buffer that has not completed. Failures are not reported here
 * but by mlxn_queue_status. */
MLXN_API mlxn_status mlxn_queue_wait_idle(mlxn_queue *queue, uint64_t timeout_ns, mlxn_error *error);
/* The same for all queues of the device. */
MLXN_API mlxn_status mlxn_device_wait_idle(mlxn_device *device, uint64_t timeout_ns, mlxn_error *error);

/* Text that the null device recorded so far, one command per line; "" on other devices.
 * Valid until the next call that commits work on the device. Not to be called while work is being committed. */
MLXN_API const char *mlxn_device_command_stream(mlxn_device *device);
MLXN_API void mlxn_device_clear_command_stream(mlxn_device *device);

/* Process-wide counters, exact, under the names of the system that mlxn matches: the sums of all encoders. */
typedef struct mlxn_counters {
    uint64_t sync_count;                    /* blocking commits */
    uint64_t dispatch_count;                /* dispatches encoded or captured (replays are not counted again) */
    uint64_t cmd_buf_count;                 /* command buffers begun */
    uint64_t barrier_count;                 /* explicit barriers issued */
    uint64_t auto_barrier_count;            /* HF2Q_AUTO_BARRIER: tracked dispatches that needed a barrier */
    uint64_t auto_barrier_concurrent_count; /* HF2Q_AUTO_BARRIER: tracked dispatches that did not */
    uint64_t hazard_barrier_count;          /* barriers that the hazard tracker inserted */
    uint64_t graph_launch_count;            /* graph launches encoded */
    uint64_t barrier_total_ns;              /* MLX_PROFILE_BARRIERS: host time of explicit barrier calls */
} mlxn_counters;

MLXN_API void mlxn_counters_read(mlxn_counters *out);
MLXN_API void mlxn_counters_reset(void);
/* The same counters of one device, since its creation: no reset, other devices do not move them. Those of an
 * encoder and of a session are in encoder.h and session.h. */
MLXN_API void mlxn_device_counters(mlxn_device *device, mlxn_counters *out);

/* ---- environment ---- */

typedef struct mlxn_gate_info {
    const char *name;    /* of the variable */
    const char *value;   /* as set now, NULL if unset; valid until the environment changes */
    bool on;             /* in effect: a flag or switch that is on, a number other than the default, a text */
    const char *meaning; /* one line */
} mlxn_gate_info;
/* Row i of the environment variables that change the library's behaviour; false past the last. Querying a variable
 * that is read once per process fixes it. */
MLXN_API bool mlxn_gate_list(uint32_t i, mlxn_gate_info *out);

/* Residency counters: allocations in the set as seen by calls (never below 0), and set commits. Process-wide. */
MLXN_API uint64_t mlxn_residency_allocation_count(void);
MLXN_API uint64_t mlxn_residency_commit_count(void);
MLXN_API void mlxn_residency_reset_counters(void);
/* Memberships that still hold because work in flight uses the memory although its last handle is gone. */
MLXN_API uint64_t mlxn_residency_pending_count(void);

/* The residency set of one device; all 0 if it has none. */
typedef struct mlxn_residency_info {
    uint64_t members; /* buffers, each once however often it was added */
    uint64_t bytes;   /* of them */
    uint64_t pending; /* members that were taken out, or lost their last handle, while work uses them */
    uint64_t commits; /* times that changes of this set were committed: at most once for each submission */
} mlxn_residency_info;
MLXN_API void mlxn_device_residency(mlxn_device *device, mlxn_residency_info *out);

#ifdef __cplusplus
}
#endif
#endif
