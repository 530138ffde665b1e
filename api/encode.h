/*
 * What the API answers, as JSON: the shapes of the contract, all keys in its order.
 *
 * The texts are malloc'ed and end with a NUL; NULL: no memory.
 */
#ifndef MVM_API_ENCODE_H
#define MVM_API_ENCODE_H

struct event;
struct instance;

char *encode_instance(const struct instance *in); /* GET / */
char *encode_version(void);                       /* GET /version */
char *encode_machine(const struct instance *in);  /* GET /machine-config */
char *encode_config(const struct instance *in);   /* GET /vm/config */

/* A line of GET /events, without its newline.  What the guest wrote is made valid UTF-8. */
char *encode_event(const struct event *ev);

#endif
