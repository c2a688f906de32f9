// SPDX-License-Identifier: Apache-2.0
#include "export_choice.h"

#include <stdio.h>

enum export_kind export_choose(enum export_kind wanted, const struct export_facts *ublk, const struct export_facts *nbd,
                               struct error *why)
{
	if (wanted != EXPORT_AUTO) {
		snprintf(why->text, sizeof(why->text), "configured");
		return wanted;
	}
	if (ublk->there || nbd->there) {
		snprintf(why->text, sizeof(why->text), "its device is there from before");
		return ublk->there ? EXPORT_UBLK : EXPORT_NBD;
	}
	if (!ublk->works) {
		snprintf(why->text, sizeof(why->text), "ublk works here");
		return EXPORT_UBLK;
	}
	if (!nbd->works) {
		*why = ublk->why_not;
		return EXPORT_NBD;
	}
	snprintf(why->text, sizeof(why->text), "%.190s; %.190s", ublk->why_not.text, nbd->why_not.text);
	return EXPORT_SOCKET;
}
