// SPDX-License-Identifier: Apache-2.0
// The ublk driver's interface, as of Linux 6.5 and, for zero copy, 6.16. Debian
// 12's headers lack the ioctl-encoded commands, which newer kernels insist on.
#ifndef STEAD_UBLK_ABI_H
#define STEAD_UBLK_ABI_H

#include <linux/ioctl.h>
#include <stddef.h>
#include <stdint.h>

#define UBLK_CONTROL_PATH "/dev/ublk-control"

// In the command area of a 128 byte SQE on /dev/ublk-control.
struct ublk_ctrl_cmd {
	uint32_t dev_id; // UINT32_MAX with ADD_DEV: any
	uint16_t queue_id; // UINT16_MAX: none
	uint16_t len; // of what addr points to
	uint64_t addr;
	uint64_t data;
	uint16_t dev_path_len;
	uint16_t pad;
	uint32_t reserved;
};
_Static_assert(sizeof(struct ublk_ctrl_cmd) == 32, "the driver's size");

struct ublk_dev_info {
	uint16_t nr_hw_queues;
	uint16_t queue_depth;
	uint16_t state; // enum ublk_state
	uint16_t pad0;
	uint32_t max_io_buf_bytes;
	uint32_t dev_id;
	int32_t ublksrv_pid;
	uint32_t pad1;
	uint64_t flags; // UBLK_F_*
	uint64_t ublksrv_flags; // ours; the driver keeps it
	uint32_t owner_uid;
	uint32_t owner_gid;
	uint64_t reserved1;
	uint64_t reserved2;
};
_Static_assert(sizeof(struct ublk_dev_info) == 64, "the driver's size");

enum ublk_state {
	UBLK_STATE_DEAD, // not started yet, or stopped
	UBLK_STATE_LIVE,
	UBLK_STATE_QUIESCED, // its server is gone; requests wait
};

#define UBLK_F_SUPPORT_ZERO_COPY (UINT64_C(1) << 0)
#define UBLK_F_USER_RECOVERY (UINT64_C(1) << 3)
#define UBLK_F_USER_RECOVERY_REISSUE (UINT64_C(1) << 4)
#define UBLK_F_CMD_IOCTL_ENCODE (UINT64_C(1) << 6)
#define UBLK_F_USER_COPY (UINT64_C(1) << 7)
#define UBLK_F_AUTO_BUF_REG (UINT64_C(1) << 11)

#define UBLK_ATTR_VOLATILE_CACHE (1u << 2)
#define UBLK_ATTR_FUA (1u << 3) // counts only together with the former
#define UBLK_PARAM_TYPE_BASIC (1u << 0)
#define UBLK_PARAM_TYPE_DISCARD (1u << 1)
#define UBLK_PARAM_TYPE_DMA_ALIGN (1u << 4)

struct ublk_params {
	uint32_t len;
	uint32_t types; // UBLK_PARAM_TYPE_*
	struct {
		uint32_t attrs; // UBLK_ATTR_*
		uint8_t logical_bs_shift;
		uint8_t physical_bs_shift;
		uint8_t io_opt_shift;
		uint8_t io_min_shift;
		uint32_t max_sectors;
		uint32_t chunk_sectors;
		uint64_t dev_sectors;
		uint64_t virt_boundary_mask;
	} basic;
	struct {
		uint32_t discard_alignment;
		uint32_t discard_granularity;
		uint32_t max_discard_sectors;
		uint32_t max_write_zeroes_sectors;
		uint16_t max_discard_segments;
		uint16_t reserved0;
	} discard;
	uint32_t devt[4]; // the driver's to tell
	uint32_t zoned[8]; // not ours
	struct {
		uint32_t alignment; // of the memory of READ and WRITE, less one
		uint32_t pad;
	} dma;
};
#define UBLK_PARAMS_BYTES 116 // as the driver counts: without what pads the end
_Static_assert(offsetof(struct ublk_params, basic) == 8, "the driver's layout");
_Static_assert(offsetof(struct ublk_params, basic.dev_sectors) == 24, "the driver's layout");
_Static_assert(offsetof(struct ublk_params, discard) == 40, "the driver's layout");
_Static_assert(offsetof(struct ublk_params, devt) == 60, "the driver's layout");
_Static_assert(offsetof(struct ublk_params, dma.pad) + 4 == UBLK_PARAMS_BYTES, "the driver's layout");

// One a tag, in memory that the driver shares with us.
struct ublk_io_desc {
	uint32_t op_flags; // enum ublk_op, UBLK_IO_F_*
	uint32_t nr_sectors;
	uint64_t start_sector;
	uint64_t addr;
};
_Static_assert(sizeof(struct ublk_io_desc) == 24, "the driver's size");

enum ublk_op {
	UBLK_OP_READ,
	UBLK_OP_WRITE,
	UBLK_OP_FLUSH,
	UBLK_OP_DISCARD,
	UBLK_OP_WRITE_SAME,
	UBLK_OP_WRITE_ZEROES,
};
#define UBLK_OP_MASK 0xffu
#define UBLK_IO_F_FUA (1u << 13)
#define UBLK_IO_F_NOUNMAP (1u << 15)
#define UBLK_IO_F_NEED_REG_BUF (1u << 17) // the request's memory is in no place of the ring's table

// In the command area of an SQE on /dev/ublkcN.
struct ublk_io_cmd {
	uint16_t q_id;
	uint16_t tag;
	int32_t result; // COMMIT: bytes or -errno
	uint64_t addr; // of the tag's buffer; 0 with zero copy
};
_Static_assert(sizeof(struct ublk_io_cmd) == 16, "the driver's size");

// With zero copy, in the address of that SQE: the place in the table of the
// ring's buffers that the memory of the tag's next request is put into.
#define UBLK_BUFFER_FALLBACK (UINT64_C(1) << 16) // where that fails: UBLK_IO_F_NEED_REG_BUF, and no error
#define UBLK_BUFFER_PLACE_MAX UINT16_MAX

// Where the content of a request is in /dev/ublkcN (queue 0).
#define UBLK_CONTENT(tag) (UINT64_C(0x80000000) + ((uint64_t)(tag) << 25))

#define UBLK_DEPTH_MAX 4096
#define UBLK_DESC_BYTES(depth) ((size_t)(depth) * sizeof(struct ublk_io_desc))

#define UBLK_GET_DEV_INFO _IOR('u', 0x02, struct ublk_ctrl_cmd)
#define UBLK_ADD_DEV _IOWR('u', 0x04, struct ublk_ctrl_cmd)
#define UBLK_DEL_DEV _IOWR('u', 0x05, struct ublk_ctrl_cmd)
#define UBLK_START_DEV _IOWR('u', 0x06, struct ublk_ctrl_cmd)
#define UBLK_STOP_DEV _IOWR('u', 0x07, struct ublk_ctrl_cmd)
#define UBLK_SET_PARAMS _IOWR('u', 0x08, struct ublk_ctrl_cmd)
#define UBLK_START_USER_RECOVERY _IOWR('u', 0x10, struct ublk_ctrl_cmd)
#define UBLK_END_USER_RECOVERY _IOWR('u', 0x11, struct ublk_ctrl_cmd)
#define UBLK_GET_FEATURES _IOR('u', 0x13, struct ublk_ctrl_cmd)
#define UBLK_DEL_DEV_ASYNC _IOR('u', 0x14, struct ublk_ctrl_cmd)

#define UBLK_IO_FETCH_REQ _IOWR('u', 0x20, struct ublk_io_cmd)
#define UBLK_IO_COMMIT_AND_FETCH_REQ _IOWR('u', 0x21, struct ublk_io_cmd)

#endif
