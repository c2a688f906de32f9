// SPDX-License-Identifier: Apache-2.0
#include "scale_world.h"

#include "common/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define TIMERS_MAX 64
#define FRAMES_MAX 64

struct reply {
	enum frame_type type;
	size_t length;
	uint8_t body[WIRE_BODY_MAX];
};

static struct world {
	const struct pair_state *state;
	uint64_t now;
	struct timer *timers[TIMERS_MAX];
	unsigned timer_count;
	struct disk_io *first_io, **last_io;
	struct message *first_message, **last_message;
	struct channel channel;
	struct dialer dialer;
	bool dialled;
	struct reply replies[FRAMES_MAX];
	unsigned reply_first, reply_count;
	uint64_t durable;
	uint8_t *intent; // the write-intent log's disk
} world;

static struct {
	uint64_t began, cut; // ns; cut 0: none since it began
} call;

void give_up(const char *what)
{
	fprintf(stderr, "scale: %s\n", what);
	exit(1);
}

uint64_t used_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

void *memory_of(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		give_up("out of memory");
	return memory;
}

// -- clock --

static uint64_t clock_time(struct clock *clock)
{
	(void)clock;
	return world.now;
}

static int64_t clock_date(struct clock *clock)
{
	(void)clock;
	return (int64_t)world.now;
}

static void timer_cancel(struct clock *clock, struct timer *timer)
{
	(void)clock;
	if (!timer->armed)
		return;
	timer->armed = false;
	world.timers[timer->slot] = world.timers[--world.timer_count];
	world.timers[timer->slot]->slot = timer->slot;
}

static void timer_set(struct clock *clock, struct timer *timer, uint64_t deadline)
{
	timer_cancel(clock, timer);
	if (world.timer_count == TIMERS_MAX)
		give_up("more timers than were thought of");
	timer->armed = true;
	timer->deadline = deadline;
	timer->slot = world.timer_count;
	world.timers[world.timer_count++] = timer;
}

static const struct clock_ops clock_ops = {clock_time, clock_date, timer_set, timer_cancel};
static struct clock world_clock = {&clock_ops};

static struct timer *next_timer(void)
{
	struct timer *next = NULL;

	for (unsigned i = 0; i < world.timer_count; i++) {
		if (!next || world.timers[i]->deadline < next->deadline)
			next = world.timers[i];
	}
	return next;
}

// -- disks: the volume keeps nothing, the log is in memory --

static void io_submit(struct disk *disk, struct disk_io *io)
{
	(void)disk;
	io->next = NULL;
	*world.last_io = io;
	world.last_io = &io->next;
}

static bool no_hole(struct disk *disk, uint64_t offset, uint64_t *length)
{
	(void)disk;
	(void)offset;
	(void)length;
	return false;
}

static const struct disk_ops disk_ops = {io_submit, no_hole};
static struct disk volume_disk = {.ops = &disk_ops, .align = 4096}, intent_disk = {.ops = &disk_ops, .align = 4096};

static void io_carry_out(struct disk_io *io)
{
	if (io->disk != &intent_disk)
		return;
	if (io->op == DISK_WRITE)
		memcpy(world.intent + io->offset, io->data, io->length);
	else if (io->op == DISK_READ)
		memcpy(io->data, world.intent + io->offset, io->length);
}

// -- standby --

static struct reply *reply_add(enum frame_type type)
{
	struct reply *reply = &world.replies[(world.reply_first + world.reply_count) % FRAMES_MAX];

	if (world.reply_count++ == FRAMES_MAX)
		give_up("more frames under way than were thought of");
	reply->type = type;
	return reply;
}

static void answer_hello(void)
{
	struct wire_welcome welcome = {
	        .hello = {.version_min = WIRE_VERSION,
	                  .version_max = WIRE_VERSION,
	                  .pair = world.state->pair,
	                  .role = ROLE_STANDBY,
	                  .lineage = world.state->lineage,
	                  .epoch = EPOCH,
	                  .volume_count = 1},
	        .consistent = true,
	        .journal_bytes = UINT64_C(1) << 40,
	};
	struct reply *reply = reply_add(FRAME_WELCOME);

	strcpy(welcome.hello.volumes[0].name, world.state->volumes[0].name);
	welcome.hello.volumes[0].bytes = world.state->volumes[0].bytes;
	reply->length = wire_put_welcome(reply->body, &welcome);
}

static void answer(const struct message *message)
{
	struct frame frame = {
	        .type = message->type, .payload = message->body, .length = (uint32_t)message->body_length};
	struct wire_heartbeat heartbeat = {.wall = (int64_t)world.now, .cut = world.durable, .applied = world.durable};
	struct wire_epoch durable = {.wall = (int64_t)world.now};
	struct wire_end end;
	struct reply *reply;

	if (message->type == FRAME_HELLO) {
		answer_hello();
	} else if (message->type == FRAME_HEARTBEAT) {
		reply = reply_add(FRAME_HEARTBEAT);
		reply->length = wire_put_heartbeat(reply->body, &heartbeat);
	} else if (message->type == FRAME_END) {
		if (wire_get_end(&frame, &end) < 0)
			give_up("an END that is none");
		durable.epoch = world.durable = end.epoch;
		reply = reply_add(FRAME_DURABLE);
		reply->length = wire_put_epoch(reply->body, &durable);
	}
}

static void channel_take(struct channel *channel, struct message *message)
{
	(void)channel;
	message->next = NULL;
	*world.last_message = message;
	world.last_message = &message->next;
}

static void channel_ignore(struct channel *channel, bool hold)
{
	(void)channel;
	(void)hold;
}

static void channel_end(struct channel *channel)
{
	(void)channel;
	give_up("the engine hung up");
}

static const struct channel_ops channel_ops = {channel_take, channel_ignore, channel_end};

static void dial(struct dialer *dialer)
{
	(void)dialer;
	world.dialled = true;
}

static void dial_cancel(struct dialer *dialer)
{
	(void)dialer;
}

static const struct dialer_ops dialer_ops = {dial, dial_cancel};

// -- the loop --

static void io_next(void)
{
	struct disk_io *io = world.first_io;

	world.first_io = io->next;
	if (!world.first_io)
		world.last_io = &world.first_io;
	io_carry_out(io);
	io->done(io, 0);
}

static void message_next(void)
{
	struct message *message = world.first_message;

	world.first_message = message->next;
	if (!world.first_message)
		world.last_message = &world.first_message;
	answer(message);
	message->wire_bytes = message->body_length + message->data_length;
	message->done(message);
}

static void reply_next(void)
{
	const struct reply *reply = &world.replies[world.reply_first];
	struct frame frame = {.type = reply->type, .payload = reply->body, .length = (uint32_t)reply->length};

	world.channel.events->frame(world.channel.user, &frame);
	world.reply_first = (world.reply_first + 1) % FRAMES_MAX;
	world.reply_count--;
}

static void timer_next(void)
{
	struct timer *timer = next_timer();

	if (!timer)
		give_up("the engine waits for nothing");
	if (timer->deadline > world.now)
		world.now = timer->deadline;
	timer_cancel(&world_clock, timer);
	timer->fire(timer);
}

// One call into the engine, whatever is next.
void world_step(void)
{
	if (world.first_io) {
		io_next();
	} else if (world.first_message) {
		message_next();
	} else if (world.reply_count) {
		reply_next();
	} else if (world.dialled) {
		world.dialled = false;
		world.dialer.opened(world.dialer.user, &world.channel);
	} else {
		timer_next();
	}
}

void world_make(const struct pair_state *state, uint64_t bytes, struct source_config *config)
{
	world.state = state;
	world.now = NSEC_PER_SEC;
	world.last_io = &world.first_io;
	world.last_message = &world.first_message;
	world.channel.ops = &channel_ops;
	world.dialer.ops = &dialer_ops;
	volume_disk.size = bytes;
	intent_disk.size = source_intent_bytes(1, &bytes, SOURCE_REGION_BLOCKS);
	world.intent = memory_of(intent_disk.size);
	config->clock = &world_clock;
	config->dialer = &world.dialer;
	config->volume_count = 1;
	config->volumes[0] = (struct source_volume){&volume_disk, bytes};
	config->intent = &intent_disk;
	config->region_blocks = SOURCE_REGION_BLOCKS;
}

// -- what a call costs --

void cost_begin(void)
{
	call.cut = 0;
	call.began = used_ns();
}

void cost_cut(void)
{
	call.cut = used_ns();
}

void cost_end(struct cost *cost)
{
	uint64_t ended = used_ns();

	if (!call.cut)
		return;
	cost->cuts++;
	if (call.cut - call.began > cost->cut)
		cost->cut = call.cut - call.began;
	if (ended - call.began > cost->held)
		cost->held = ended - call.began;
}
