/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * The codecs of a device run under one uid, mostly in one process. A session is one group with 30 frames, and a
 * lock for each frame in use. 40 sessions fit the quotas of the uid, and leave room for a session of another app.
 */

#include <stdlib.h>
#include <sys/wait.h>

#include "expect.h"
#include "fenced_buffer.h"

#define SESSIONS 40
#define FRAMES 30
/* A decoder has an output frame and its references. */
#define IN_USE 4

struct session {
    ABufferSyncGroup* group;
    ABufferSyncBufferId frames[FRAMES];
    ABufferSyncLock locks[IN_USE];
};

static void open_session(ABufferSync* sync, struct session* session) {
    OK(ABufferSync_openGroup(sync, "media/session", 0, ABUFFERSYNC_GROUP_DEFAULT, &session->group));
    for (int nth = 0; nth < FRAMES; nth++) {
        struct fenced_buffer frame = allocate_buffer();
        OK(ABufferSyncGroup_addDmaBuf(session->group, frame.fd, ABUFFERSYNC_ACCESS_DMA_WRITE,
                                      &session->frames[nth]));
        free_buffer(&frame);
    }
}

/* Locks frames, beginning with this one. The first is written, the others are read. */
static void lock_frames(struct session* session, int first) {
    for (int nth = 0; nth < IN_USE; nth++) {
        ABufferSyncWant want = {session->frames[(first + nth) % FRAMES],
                                nth == 0 ? ABUFFERSYNC_ACCESS_DMA_WRITE
                                         : ABUFFERSYNC_ACCESS_DMA_READ,
                                0};
        OK(ABufferSyncGroup_lock(session->group, &want, 1, HUNG, &session->locks[nth]));
    }
}

static void unlock_frames(struct session* session) {
    for (int nth = 0; nth < IN_USE; nth++) {
        unlock(session->group, session->locks[nth]);
    }
}

/* Another app's session, in a process of its own. Ends with the process. */
static void be_another_app(int go) {
    char byte = 0;
    must(read(go, &byte, 1) == 1, "go");
    static struct session session;
    ABufferSync* sync = NULL;
    OK(ABufferSync_open(&sync));
    open_session(sync, &session);
    lock_frames(&session, 0);
    unlock_frames(&session);
    _exit(failures == 0 ? 0 : 1);
}

int main(void) {
    static struct session sessions[SESSIONS];
    int go[2], status = -1;
    /* Before this process connects: a forked child can't use its parent's connection. */
    must(pipe(go) == 0, "pipe");
    pid_t app = fork();
    must(app >= 0, "fork");
    if (app == 0) {
        be_another_app(go[0]);
    }

    ABufferSync* sync = NULL;
    OK(ABufferSync_open(&sync));
    for (int nth = 0; nth < SESSIONS; nth++) {
        open_session(sync, &sessions[nth]);
    }
    for (int first = 0; first < FRAMES; first += 10) {
        /* All sessions hold at once. */
        for (int nth = 0; nth < SESSIONS; nth++) {
            lock_frames(&sessions[nth], first);
        }
        size_t count = 0;
        OK(ABufferSyncGroup_getLocks(sessions[0].group, NULL, 0, &count));
        EXPECT(count, IN_USE);
        if (first == 0) {
            must(write(go[1], "", 1) == 1, "go");
            EXPECT(waitpid(app, &status, 0), app);
            EXPECT(status, 0);
        }
        for (int nth = 0; nth < SESSIONS; nth++) {
            unlock_frames(&sessions[nth]);
        }
    }
    for (int nth = 0; nth < SESSIONS; nth++) {
        ABufferSyncGroup_close(sessions[nth].group);
    }
    ABufferSync_close(sync);
    return failures == 0 ? 0 : 1;
}
