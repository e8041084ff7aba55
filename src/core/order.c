/* order.c: barriers of recording: where the hazard tracker finds a conflict, and where the caller asks for one. */
#include "core/core.h"

static bool has_work(const mlxn_encoder *encoder) {
    return encoder->capturing ? encoder->capture_has_dispatch : encoder->open && encoder->open->has_dispatch;
}

/* The present group is complete. */
static void close_group(mlxn_encoder *encoder) {
    if (encoder->group_size) {
        uint64_t bin = mlxn_min_u64(encoder->group_size, MLXN_GROUP_BINS) - 1;
        encoder->groups[bin]++;
        encoder->n_groups++;
    }
    encoder->group_size = 0;
}

/* An explicit barrier that nothing was found to need until the next one, or the end, was superfluous. */
static void settle_barrier(mlxn_encoder *encoder) {
    if (encoder->judging) encoder->barriers_redundant++;
    encoder->judging = false;
}

void mlxn_encoder_restart_stats(mlxn_encoder *encoder) {
    mlxn_hazards_reset(&encoder->hazards);
    encoder->group_size = encoder->n_groups = 0;
    memset(encoder->groups, 0, sizeof encoder->groups);
    encoder->judging = false;
    encoder->barriers_needed = encoder->barriers_redundant = 0;
}

void mlxn_encoder_new_group(mlxn_encoder *encoder) {
    close_group(encoder);
    settle_barrier(encoder);
    mlxn_hazards_reset(&encoder->hazards);
}

static bool add_barrier(mlxn_encoder *encoder, mlxn_node_list *list, bool asked) {
    mlxn_node *node = mlxn_list_add(list, MLXN_NODE_BARRIER);
    if (!node) return false;
    node->u.asked = asked;
    if (encoder->capturing)
        encoder->capture_barriers++;
    else
        encoder->open->barriers++;
    close_group(encoder);
    return true;
}

/* A barrier that the tracker asks for. Ordering against what stands before the last explicit barrier is settled by it
 * as well. */
static bool hazard_barrier(mlxn_encoder *encoder, mlxn_node_list *list) {
    if (!add_barrier(encoder, list, false)) return false;
    mlxn_hazards_reset(&encoder->hazards);
    settle_barrier(encoder);
    if (!encoder->capturing) encoder->open->hazard_barriers++;
    MLXN_COUNT(encoder, hazard);
    return true;
}

/* entries[i]: what the tracker knows of the buffer of access i. */
static bool conflicts(const mlxn_hazards *hazards, const mlxn_access *access, size_t n, uint32_t *entries) {
    for (size_t i = 0; i < n; i++)
        if (mlxn_hazards_probe(hazards, access[i].buffer, access[i].start, access[i].end, access[i].write,
                               &entries[i]))
            return true;
    return false;
}

bool mlxn_encoder_order(mlxn_encoder *encoder, mlxn_node_list *list, const mlxn_access *access, size_t n,
                        bool fence) {
    uint32_t entries[MLXN_MAX_ACCESS], unused[MLXN_MAX_ACCESS];
    bool apart = fence || encoder->serial || encoder->fenced;
    if ((apart && encoder->group_size) || conflicts(&encoder->hazards, access, n, entries)) {
        if (!hazard_barrier(encoder, list)) return false;
        memset(entries, 0, n * sizeof *entries);
    }
    encoder->fenced = fence;
    if (encoder->judging && (apart || conflicts(&encoder->before, access, n, unused))) {
        encoder->barriers_needed++;
        encoder->judging = false;
    }
    for (size_t i = 0; i < n; i++) {
        const mlxn_access *a = &access[i];
        if (!mlxn_hazards_add_at(&encoder->hazards, a->buffer, a->start, a->end, a->write, entries[i])) return false;
        /* The list keeps every buffer of the group already. */
        if (!entries[i] && !mlxn_encoder_keep(encoder, list, a->buffer)) return false;
    }
    return true;
}

void mlxn_encoder_barrier(mlxn_encoder *encoder) {
    if (!encoder) return;
    bool timed = mlxn_gate_on(MLXN_GATE_PROFILE_BARRIERS);
    uint64_t begun = timed ? mlxn_now_ns() : 0;
    mlxn_node_list *list = mlxn_encoder_target(encoder);
    if (!list || !has_work(encoder)) return;
    uint64_t size = encoder->group_size;
    if (!add_barrier(encoder, list, true)) {
        mlxn_encoder_stick_memory(encoder, "barrier");
        return;
    }
    if (size) {
        settle_barrier(encoder);
        /* What the barrier separates from the rest is kept, to see whether anything needs it. */
        mlxn_hazards sealed = encoder->hazards;
        encoder->hazards = encoder->before;
        encoder->before = sealed;
        mlxn_hazards_reset(&encoder->hazards);
        encoder->judging = true;
    } else {
        encoder->barriers_redundant++; /* nothing stands between it and the last barrier, wait, signal or launch */
    }
    if (encoder->capturing) return;
    MLXN_COUNT(encoder, barrier);
    if (timed) MLXN_COUNT_N(encoder, barrier_ns, mlxn_now_ns() - begun);
}

void mlxn_encoder_get_stats(const mlxn_encoder *encoder, mlxn_encoder_stats *out) {
    if (!out) return;
    *out = (mlxn_encoder_stats){0};
    if (!encoder) return;
    out->tracked_ranges = encoder->hazards.ranges;
    out->groups = encoder->n_groups + (encoder->group_size > 0);
    for (int i = 0; i < MLXN_GROUP_BINS; i++) out->group_sizes[i] = encoder->groups[i];
    if (encoder->group_size) out->group_sizes[mlxn_min_u64(encoder->group_size, MLXN_GROUP_BINS) - 1]++;
    out->barriers_needed = encoder->barriers_needed;
    out->barriers_redundant = encoder->barriers_redundant;
    if (encoder->capturing) {
        out->dispatches = encoder->capture_dispatches;
        out->barriers = encoder->capture_barriers;
    } else if (encoder->open) {
        out->dispatches = encoder->open->dispatches;
        out->barriers = encoder->open->barriers;
        out->hazard_barriers = encoder->open->hazard_barriers;
    }
}
