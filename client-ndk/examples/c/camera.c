/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * A camera in C: one thread, one epoll loop (an ALooper on Android), no call that blocks.
 *
 *   camera DMABUF_FD SIZE
 *
 * A timer stands for the sensor. At each tick the loop asks for the buffer. The grant comes with the
 * call or through the group's event descriptor. Then the camera prints the number of the frame, writes
 * the frame and unlocks. A tick drops its frame if the one before is not finished. The end of standard
 * input stops the camera.
 */

#include <android/buffer_sync.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "frame.h"

#define TICK_NANOS 4000000L

struct camera {
    ABufferSyncGroup* group;
    uint32_t* pixels;
    size_t words;
    uint32_t number;
    bool waiting;
};

static void check(ABufferSyncStatus status, const char* what) {
    if (status != ABUFFERSYNC_OK) {
        fprintf(stderr, "camera: %s: %s (%s)\n", what, ABufferSyncStatus_toString(status),
                ABufferSync_getLastErrorMessage());
        exit(1);
    }
}

static void must(bool condition, const char* what) {
    if (!condition) {
        perror(what);
        exit(1);
    }
}

/* The camera holds the buffer: writes a frame and unlocks. */
static void expose(struct camera* camera) {
    camera->waiting = false;
    camera->number++;
    /* Before the frame is written, so a reader that comes too early is noticed. */
    printf("%u\n", (unsigned)camera->number);
    fflush(stdout);
    for (size_t at = 0; at < camera->words; at++) {
        camera->pixels[at] = frame_word(camera->number, at);
    }
    ABufferSyncStatus status = ABufferSyncGroup_unlock(camera->group, -1);
    if (status == ABUFFERSYNC_ERROR_EVICTED) {
        fprintf(stderr, "camera: frame %u took too long\n", (unsigned)camera->number);
    } else {
        check(status, "unlock");
    }
}

static void tick(struct camera* camera) {
    if (camera->waiting) {
        return;
    }
    bool granted = false;
    check(ABufferSyncGroup_startLock(camera->group, -1, &granted), "startLock");
    if (granted) {
        expose(camera);
    } else {
        camera->waiting = true;
    }
}

static void read_events(struct camera* camera) {
    ABufferSyncEvent event;
    ABufferSyncStatus status;
    while ((status = ABufferSyncGroup_getEvent(camera->group, &event)) == ABUFFERSYNC_OK) {
        switch (event.type) {
            case ABUFFERSYNC_EVENT_GRANTED:
                expose(camera);
                break;
            case ABUFFERSYNC_EVENT_LOCK_FAILED:
                fprintf(stderr, "camera: frame dropped: errno %d\n", (int)event.error);
                camera->waiting = false;
                break;
            default: /* An event of an earlier frame. */
                break;
        }
    }
    if (status != ABUFFERSYNC_ERROR_WOULD_BLOCK) {
        check(status, "getEvent");
    }
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static int start_timer(void) {
    struct itimerspec period = {{0, TICK_NANOS}, {0, TICK_NANOS}};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    must(timer >= 0 && timerfd_settime(timer, 0, &period, NULL) == 0, "timerfd");
    return timer;
}

static void run(struct camera* camera, int epoll, int timer, int events) {
    for (;;) {
        struct epoll_event ready[3];
        int count = epoll_wait(epoll, ready, 3, -1);
        must(count >= 0 || errno == EINTR, "epoll_wait");
        for (int at = 0; at < count; at++) {
            uint64_t ticks;
            if (ready[at].data.fd == STDIN_FILENO) {
                return;
            }
            if (ready[at].data.fd == events) {
                read_events(camera);
            } else if (read(timer, &ticks, sizeof ticks) > 0) {
                tick(camera);
            }
        }
    }
}

int main(int argc, char** argv) {
    if (argc != 3) {
        fprintf(stderr, "camera DMABUF_FD SIZE\n");
        return 2;
    }
    int dma_buf = atoi(argv[1]);
    size_t size = strtoul(argv[2], NULL, 10);
    struct camera camera = {.words = size / sizeof(uint32_t)};
    void* pixels = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, dma_buf, 0);
    must(pixels != MAP_FAILED, "mmap");
    camera.pixels = pixels;

    ABufferSync* sync = NULL;
    check(ABufferSync_open(&sync), "open");
    check(ABufferSync_openGroup(sync, "example/camera", 0, ABUFFERSYNC_GROUP_DEFAULT, &camera.group),
          "openGroup");
    check(ABufferSyncGroup_addDmaBuf(camera.group, dma_buf, ABUFFERSYNC_ACCESS_WRITE, NULL), "add");
    int events = -1;
    check(ABufferSyncGroup_getEventFd(camera.group, &events), "getEventFd");

    int epoll = epoll_create1(EPOLL_CLOEXEC);
    must(epoll >= 0, "epoll_create1");
    int timer = start_timer();
    watch(epoll, timer);
    watch(epoll, events);
    watch(epoll, STDIN_FILENO);
    run(&camera, epoll, timer, events);

    if (camera.waiting) {
        /* If it was granted meanwhile, closing the group ends the grant. */
        (void)ABufferSyncGroup_cancel(camera.group);
    }
    check(ABufferSyncGroup_close(camera.group), "close");
    check(ABufferSync_close(sync), "close");
    close(timer);
    close(epoll);
    munmap(pixels, size);
    return 0;
}
