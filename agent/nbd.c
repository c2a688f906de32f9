// SPDX-License-Identifier: Apache-2.0
#include "nbd.h"

#include "nbd_phases.h"
#include "nbd_wire.h"

enum nbd_step nbd_broken(struct nbd *nbd, const char *why)
{
	nbd->phase = NBD_PHASE_OVER;
	nbd->why = why;
	return NBD_BROKEN;
}

void nbd_start(struct nbd *nbd, const struct nbd_export *export, struct nbd_output *output)
{
	uint8_t *at = output->data + output->length;

	*nbd = (struct nbd){.export = export};
	at = nbd_put64(at, NBD_MAGIC_GREETING);
	at = nbd_put64(at, NBD_MAGIC_OPTION);
	nbd_put16(at, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	output->length += NBD_GREETING_BYTES;
}

void nbd_start_attached(struct nbd *nbd, const struct nbd_export *export)
{
	*nbd = (struct nbd){.export = export, .phase = NBD_PHASE_TRANSMISSION};
}

static void drop(struct nbd *nbd, struct nbd_input *input)
{
	size_t length = nbd->skip < input->length ? nbd->skip : input->length;

	nbd_consume(input, length);
	nbd->skip -= length;
}

enum nbd_step nbd_step(struct nbd *nbd, struct nbd_input *input, struct nbd_output *output, struct nbd_request *request)
{
	for (;;) {
		enum nbd_step step;

		drop(nbd, input);
		if (nbd->skip)
			return NBD_MORE;
		if (nbd->rejecting) {
			nbd->rejecting = false;
			*request = nbd->rejected;
			return NBD_REQUEST;
		}
		if (nbd->phase == NBD_PHASE_OVER)
			return nbd->why ? NBD_BROKEN : NBD_GOODBYE;
		if (nbd->phase == NBD_PHASE_TRANSMISSION)
			step = nbd_request(nbd, input, request);
		else if (output->size - output->length < NBD_OUTPUT_MAX)
			return NBD_SEND;
		else if (nbd->phase == NBD_PHASE_FLAGS)
			step = nbd_client_flags(nbd, input);
		else
			step = nbd_option(nbd, input, output);
		if (step != NBD_SEND)
			return step;
	}
}

void nbd_reject(struct nbd *nbd, const struct nbd_request *request, int error)
{
	nbd->rejected = *request;
	nbd->rejected.error = error;
	nbd->rejecting = true;
	nbd->skip = request->command == NBD_CMD_WRITE ? request->length : 0;
}
