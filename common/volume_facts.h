// SPDX-License-Identifier: Apache-2.0
// What the system says of a volume: a volume has no header, so what tells it
// from another one is asked of the file system or the device that it is.
//
// Facts are texts by name. A fact of both then and now that differs says that
// this is another volume. One that only then or only now was to be had says
// nothing: kernels and drivers differ in what they tell.
#ifndef STEAD_VOLUME_FACTS_H
#define STEAD_VOLUME_FACTS_H

#include <stdint.h>

#define FACTS_MAX 10
#define FACT_TEXT_MAX 160

struct fact {
	char name[32]; // for people, too: inode, wwid, serial number ...
	char text[FACT_TEXT_MAX]; // never empty
};

struct facts {
	unsigned count;
	struct fact list[FACTS_MAX];
};

// Of the open volume: what stays the same for as long as it is the same one.
void facts_identity(int fd, struct facts *facts);

// Of the open volume: what stays the same for as long as nobody writes to it.
// Everything that was written before is flushed.
void facts_stillness(int fd, struct facts *facts);

void facts_add(struct facts *facts, const char *name, const char *text);
const char *facts_find(const struct facts *facts, const char *name); // NULL: it is not known

// The first fact of both that differs, as it is in now. NULL: none.
const struct fact *facts_contradiction(const struct facts *then, const struct facts *now);

#endif
