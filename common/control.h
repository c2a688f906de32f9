// SPDX-License-Identifier: Apache-2.0
// The control protocol: over a unix socket that only its owner may open, one
// JSON object a line. A request is {"command": "...", ...}; its one reply is
// {"ok": true, ...} or {"ok": false, "error": "one line"}, when the work is
// done. A client may ask again after the reply.
//
// command      daemon    request                                    reply
// status       both      pair (optional)                            pairs: [status.h]; a pair that the
//                                                                   daemon does not run: []
// pair-invite  receiver  pair, volumes [{name, path}],              token
//                        listen (optional), expires_ns (optional)
// pair-join    agent     token, volumes [{name, path}], export,     pair, peer, volumes [{name, path, bytes,
//                        listen, rpo_ns, rto_ns (all optional)      export, device}]
// pair-remove  both      pair                                       pair
// pair-start   agent     pair                                       volumes [{name, device}]; starts a
//                                                                   pair whose state says primary
// pair-fence   agent     pair, epoch, untouched, bytes, since,      pair; the peer was promoted: never serve again
//                        born (what the peer says of itself)
// promote      receiver  pair, force (boolean)                      pair, generation, epoch, time, age_seconds,
//                                                                   seconds (what it took), volumes [{name, device}],
//                                                                   note (why they are not exported)
// demote       agent     pair                                       pair, note (what is left to do by hand)
// switchover   both      pair                                       on the agent as demote, on the receiver as promote
// resync       both      pair, discard (boolean), salvage           pair, discarded_bytes, salvage (where it is kept),
//                        (boolean)                                  note
// force        agent     pair                                       pair; serves, whatever its peer is
// pause        agent     pair                                       pair
// resume       agent     pair                                       pair
// reload       both                                                 pairs (how many)
// take-up      both                                                 pairs (how many); of a daemon that starts to the
//                                                                   other one: those whose role changed while it died
//
// Texts that are not known or not given are left out. Paths are absolute.
#ifndef STEAD_CONTROL_H
#define STEAD_CONTROL_H

#include "error.h"
#include "loop.h"

#include <jansson.h>
#include <stdbool.h>

#define CONTROL_LINE_MAX (1 << 20) // bytes of one request or reply, with its newline
#define CONTROL_CLIENTS_MAX 64 // at once; a further one waits to be accepted

#define CONTROL_STATUS "status"
#define CONTROL_PAIR_INVITE "pair-invite"
#define CONTROL_PAIR_JOIN "pair-join"
#define CONTROL_PAIR_REMOVE "pair-remove"
#define CONTROL_PAIR_START "pair-start"
#define CONTROL_PAIR_FENCE "pair-fence"
#define CONTROL_PROMOTE "promote"
#define CONTROL_DEMOTE "demote"
#define CONTROL_SWITCHOVER "switchover"
#define CONTROL_RESYNC "resync"
#define CONTROL_FORCE "force"
#define CONTROL_PAUSE "pause"
#define CONTROL_RESUME "resume"
#define CONTROL_RELOAD "reload"
#define CONTROL_TAKE_UP "take-up"

struct control;

// One request that waits for its reply. It stays valid until it is answered,
// exactly once, also when its client or the whole server is gone by then.
struct control_call;

// request is valid until the call is answered (control_request()).
typedef void (*control_handler)(void *user, struct control_call *call, const char *command, json_t *request);

// Serves the socket at path, mode 0600; the folder must exist. A socket that a
// dead daemon left behind is replaced. -EADDRINUSE: a live one answers there.
int control_new(struct loop *loop, const char *path, control_handler handler, void *user, struct control **control,
                struct error *err);

// Removes the socket, hangs up on the clients after the replies that are on
// their way, and calls stopped() when nothing of it is under way; free then.
void control_stop(struct control *control, void (*stopped)(void *user), void *user);
void control_free(struct control *control);

json_t *control_request(struct control_call *call);

// Takes the reply over, adds "ok": true. NULL: nothing to tell.
void control_reply(struct control_call *call, json_t *reply);
void control_refuse(struct control_call *call, const char *error);

// The text of a field. NULL with the reason when it is not there, is no text,
// or is empty.
const char *control_text(json_t *request, const char *key, struct error *err);

// For clients. 0 and the reply (the caller's), or: -ENOTCONN nobody listens
// there, -EACCES, -ETIMEDOUT, -ECONNRESET hung up without a reply, -EBADMSG not
// a reply, -EREMOTEIO the daemon refused and the text is its own. Takes the
// request over. timeout in milliseconds for all of it; -1: none.
int control_ask(const char *path, json_t *request, int timeout, json_t **reply, struct error *err);

// The same on a loop, without waiting. 0: done() will run, exactly once, never
// from within; the reply is valid during the call. -ENOMEM: it will not.
int control_ask_on(struct loop *loop, const char *path, json_t *request, unsigned timeout, void *user,
                   void (*done)(void *user, int error, json_t *reply, const struct error *reason));

#endif
