// SPDX-License-Identifier: Apache-2.0
// The reasons of a status in words for people.
#ifndef STEAD_REASON_H
#define STEAD_REASON_H

// NULL: it is no code but a sentence already, or one that needs no more words.
// docs/operations.md says what to do about each.
const char *reason_meaning(const char *reason);

#endif
