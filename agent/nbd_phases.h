// SPDX-License-Identifier: Apache-2.0
// What the files of the NBD server share.
#ifndef STEAD_NBD_PHASES_H
#define STEAD_NBD_PHASES_H

#include "nbd.h"

// Marks the stream as broken, for the reason given.
enum nbd_step nbd_broken(struct nbd *nbd, const char *why);

static inline void nbd_consume(struct nbd_input *input, size_t length)
{
	input->data += length;
	input->length -= length;
}

// One message of the phase each. NBD_SEND: it was dealt with, go on with the
// next if there is room for output.
enum nbd_step nbd_client_flags(struct nbd *nbd, struct nbd_input *input);
enum nbd_step nbd_option(struct nbd *nbd, struct nbd_input *input, struct nbd_output *output);
enum nbd_step nbd_request(struct nbd *nbd, struct nbd_input *input, struct nbd_request *request);

#endif
