// SPDX-License-Identifier: Apache-2.0
// Deliberate defects, compiled in only for the mutation check of the simulator
// (tests/sim/), which proves that it catches each of them.
#ifndef STEAD_MUTANT_H
#define STEAD_MUTANT_H

#ifdef STEAD_MUTANTS

#define MUTANTS(MUTANT_DO)                                                                                             \
	/* agent */                                                                                                    \
	MUTANT_DO(NO_COPY_BEFORE_WRITE)                                                                                \
	MUTANT_DO(CAPTURE_IGNORES_INFLIGHT)                                                                            \
	MUTANT_DO(CLEARED_WHEN_SENT)                                                                                   \
	MUTANT_DO(FROZEN_LOST_ON_DISCONNECT)                                                                           \
	MUTANT_DO(LOST_ACK_NOT_SETTLED)                                                                                \
	MUTANT_DO(UNACKED_TAKEN_AS_DURABLE)                                                                            \
	MUTANT_DO(CUT_PER_VOLUME)                                                                                      \
	MUTANT_DO(ZERO_NOT_MARKED)                                                                                     \
	MUTANT_DO(STALE_ZERO_GRANULE)                                                                                  \
	MUTANT_DO(SPILL_SLOT_REUSED)                                                                                   \
	MUTANT_DO(WIDEN_FORGETS_CAPTURED)                                                                              \
	MUTANT_DO(MAP_TRUSTED_AFTER_POWER_LOSS)                                                                        \
	MUTANT_DO(UNALIGNED_NOT_SERIALISED)                                                                            \
	MUTANT_DO(INTENT_NOT_AWAITED)                                                                                  \
	MUTANT_DO(REGION_RELEASED_UNFLUSHED)                                                                           \
	MUTANT_DO(REGION_RELEASED_UNSHIPPED)                                                                           \
	MUTANT_DO(CUT_NOT_NOTED)                                                                                       \
	MUTANT_DO(DRAINED_TOO_EARLY)                                                                                   \
	MUTANT_DO(BEYOND_IGNORED)                                                                                      \
	MUTANT_DO(COMPARED_AS_RESYNC)                                                                                  \
	MUTANT_DO(REPLACED_TAKEN_BACK)                                                                                 \
	MUTANT_DO(MARKED_BITS_LOST)                                                                                    \
	MUTANT_DO(WALK_IGNORES_INFLIGHT)                                                                               \
	MUTANT_DO(DRAINED_NOT_HELD)                                                                                    \
	MUTANT_DO(HANDOVER_FORGOTTEN)                                                                                  \
	MUTANT_DO(HELD_READ_SERVED)                                                                                    \
	MUTANT_DO(FENCE_FORGETS_SPLIT)                                                                                 \
	MUTANT_DO(UNTOUCHED_KEPT_MAP_RESET)                                                                            \
	MUTANT_DO(RECENT_NOT_DROPPED)                                                                                  \
	MUTANT_DO(RECENT_OF_OVERLAPPING)                                                                               \
	MUTANT_DO(WORD_BEFORE_SUM)                                                                                     \
	MUTANT_DO(RELEASED_BEFORE_SAVED)                                                                               \
	MUTANT_DO(UNMAP_REFUSAL_TOLD)                                                                                  \
	/* receiver */                                                                                                 \
	MUTANT_DO(DURABLE_BEFORE_FLUSH)                                                                                \
	MUTANT_DO(APPLIED_WITHOUT_END)                                                                                 \
	MUTANT_DO(TORN_SLOT_ACCEPTED)                                                                                  \
	MUTANT_DO(REPLAY_FROM_WRONG_EPOCH)                                                                             \
	MUTANT_DO(TAIL_FREED_BEFORE_FLUSH)                                                                             \
	MUTANT_DO(CONSISTENT_TOO_EARLY)                                                                                \
	MUTANT_DO(JOURNAL_CHECKSUM_IGNORED)                                                                            \
	MUTANT_DO(MARKED_BEFORE_FLUSH)                                                                                 \
	MUTANT_DO(PROMOTED_BEFORE_APPLIED)                                                                             \
	MUTANT_DO(REWIND_IGNORES_INFLIGHT)                                                                             \
	MUTANT_DO(COMPARE_BEFORE_APPLIED)                                                                              \
	MUTANT_DO(REDO_REGION_NOT_LOGGED)                                                                              \
	MUTANT_DO(REDO_NOT_FLUSHED)                                                                                    \
	MUTANT_DO(REDO_OLDER_WINS)                                                                                     \
	MUTANT_DO(OVERSIZE_STAYS_CONSISTENT)                                                                           \
	MUTANT_DO(TAKEOVER_TOO_LATE)                                                                                   \
	MUTANT_DO(ADOPTED_BEFORE_DURABLE)                                                                              \
	MUTANT_DO(ADOPTION_NOT_SAVED)                                                                                  \
	MUTANT_DO(REJECTED_ADOPTION_FORGOTTEN)                                                                         \
	/* both */                                                                                                     \
	MUTANT_DO(DEVICE_READ_THROUGH_CACHE)                                                                           \
	MUTANT_DO(FENCE_IGNORED)                                                                                       \
	MUTANT_DO(BASE_EPOCH_NOT_BEYOND)                                                                               \
	MUTANT_DO(BEYOND_OF_SHARED_EPOCHS)                                                                             \
	MUTANT_DO(LOST_EPOCHS_BELIEVED)                                                                                \
	MUTANT_DO(GIVES_WAY_NEITHER)                                                                                   \
	MUTANT_DO(ROLLBACK_IGNORED)                                                                                    \
	MUTANT_DO(FORK_NOT_REFUSED)

enum mutant {
	MUTANT_NONE,
#define MUTANT_ENUM(name) MUTANT_##name,
	MUTANTS(MUTANT_ENUM)
#undef MUTANT_ENUM
	MUTANT_MAX,
};

extern enum mutant mutant_active;

#define MUTANT(name) (mutant_active == MUTANT_##name)

#else

#define MUTANT(name) 0

#endif

#endif
