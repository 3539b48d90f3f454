/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * The service is stopped. A lock that waits keeps its time-out, and is ended when the service goes on. A call of the
 * service lasts until then.
 *
 *   stopped_service DMABUF_FD SERVICE_PID
 *
 * Needs root, to stop the service.
 */

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "expect.h"

static pid_t service;
static volatile sig_atomic_t goes_on = 1;

static void stop(void) {
    goes_on = 0;
    EXPECT(kill(service, SIGSTOP), 0);
}

static void let_go_on(void) {
    goes_on = 1;
    EXPECT(kill(service, SIGCONT), 0);
}

static void* let_go_on_later(void* unused) {
    sleep_millis(300);
    let_go_on();
    return unused;
}

/* A call that hangs must not leave the service stopped. */
static void give_up(int signal) {
    (void)signal;
    kill(service, SIGCONT);
    _exit(1);
}

static void expect_locks(ABufferSyncGroup* group, size_t expected) {
    size_t count = 7;
    OK(ABufferSyncGroup_getLocks(group, NULL, 0, &count));
    EXPECT(count, expected);
}

static ABufferSyncGroup* open_group(ABufferSync* sync, const char* name, int fd) {
    ABufferSyncGroup* group = NULL;
    OK(ABufferSync_openGroup(sync, name, 0, ABUFFERSYNC_GROUP_DEFAULT, &group));
    OK(ABufferSyncGroup_addDmaBuf(group, fd, ABUFFERSYNC_ACCESS_WRITE, NULL));
    return group;
}

int main(int argc, char** argv) {
    if (argc != 3) {
        return 2;
    }
    int fd = atoi(argv[1]);
    service = (pid_t)atoi(argv[2]);
    signal(SIGALRM, give_up);
    alarm(120);
    ABufferSync* sync = NULL;
    OK(ABufferSync_open(&sync));
    ABufferSyncGroup* holder = open_group(sync, "stopped/holder", fd);
    ABufferSyncGroup* next = open_group(sync, "stopped/next", fd);
    ABufferSyncLock held = lock_all(holder), waiting = 0;
    ABufferSyncLockInTheWay by;
    bool granted = true, silent = false;

    /* The service stops before the time-out is over, so only the client can keep it. */
    for (int times = 0; times < 10 && !silent && failures == 0; times++) {
        let_go_on();
        OK(ABufferSyncGroup_startLock(next, NULL, 0, 300 * MILLIS, &waiting, &granted));
        EXPECT(granted, 0);
        stop();
        FAILS(ABufferSyncGroup_wait(next, waiting), TIMED_OUT);
        EXPECT(goes_on, 0);
        /* If this machine was so slow that the service has ended the lock, once more. */
        silent = strstr(ABufferSync_getLastErrorMessage(), "does not answer") != NULL;
    }
    EXPECT(silent, 1);
    EXPECT(ABufferSync_getLastErrorLock(&by), 0);
    /* What needs no answer works. */
    FAILS(ABufferSyncGroup_wait(next, waiting), ENDED);

    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, let_go_on_later, NULL), 0);
    OK(ABufferSyncGroup_unlock(holder, held, -1));
    EXPECT(goes_on, 1);
    EXPECT(pthread_join(thread, NULL), 0);
    /* The lock is not granted to somebody who has given up. */
    held = lock_all(holder);
    expect_locks(holder, 1);
    unlock(holder, held);
    unlock(next, lock_all(next));
    expect_locks(next, 0);

    ABufferSyncGroup_close(holder);
    ABufferSyncGroup_close(next);
    ABufferSync_close(sync);
    return failures == 0 ? 0 : 1;
}
