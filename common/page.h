// SPDX-License-Identifier: Apache-2.0
// The web page, page.html, as it is put in when stead is built.
#ifndef STEAD_PAGE_H
#define STEAD_PAGE_H

extern const char page_text[];
extern const char page_policy[]; // the Content-Security-Policy that it needs, and no more

#endif
