/*
 * Telling systemd how the service fares: one datagram to the socket in NOTIFY_SOCKET, as
 * sd_notify(3) describes the protocol for programs that do not link libsystemd (which would map six
 * further libraries into every process). Without the variable all of this does nothing.
 */
#ifndef STUDY_PROC_NOTIFY_H
#define STUDY_PROC_NOTIFY_H

#include <stdint.h>

void notify_init(void); /* reads, and removes, NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID */
void notify_ready(const char *status);
void notify_reloading(void);
void notify_stopping(void);

/* Half of the watchdog's time, in which notify_watchdog is due; INT64_MAX without a watchdog. */
int64_t notify_watchdog_ms(void);
void notify_watchdog(void);

#endif
