/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * A camera in C: one thread, one epoll loop (an ALooper on Android), no call that blocks.
 *
 *   camera PIXELS_FD PIXELS_FD STATISTICS_FD STATISTICS_FD SIZE HOLD_MILLIS
 *
 * A timer stands for the sensor. Frame N goes to the pixels and the statistics of place N % 2. At each tick the loop
 * asks for the two buffers of the next frame, so two locks of the group can be open at once. A grant comes with the
 * call or through the group's event descriptor. Then the camera prints the number of the frame and writes the
 * statistics. It returns them at once, by themselves: exposure control reads them while the pixels are written. A tick
 * drops its frame if the place is still in use.
 *
 * What goes wrong:
 * - The camera takes too long, and is evicted. The frame is lost, and the camera goes on. A line on standard input
 *   makes the next frame too long.
 * - The service dies, and every lock with it. The camera opens its group again when the service is back.
 * After either it prints 0.
 *
 * The end of standard input stops the camera.
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
#define PLACES 2

/* Where a frame goes. */
struct place {
    int pixels_fd, statistics_fd;
    uint32_t* pixels;
    uint32_t* statistics;
    ABufferSyncBufferId pixels_id, statistics_id;
    /* The lock that waits for this place; 0 if none. */
    ABufferSyncLock waiting;
    uint32_t number;
};

struct camera {
    ABufferSync* sync;
    /* Null while the service is gone. */
    ABufferSyncGroup* group;
    int64_t hold_nanos;
    struct place places[PLACES];
    size_t size;
    /* The last frame that was asked for. */
    uint32_t number;
    bool is_slow;
    int epoll, events;
};

static void must(bool condition, const char* what) {
    if (!condition) {
        perror(what);
        exit(1);
    }
}

/* A frame that begins, or 0 for one that is lost. */
static void tell(uint32_t number) {
    printf("%u\n", (unsigned)number);
    fflush(stdout);
}

/* The service is gone, and every lock with it. The descriptor for events leaves the epoll set when it is closed. */
static void lose_group(struct camera* camera) {
    ABufferSyncGroup_close(camera->group);
    camera->group = NULL;
    for (size_t at = 0; at < PLACES; at++) {
        camera->places[at].waiting = 0;
    }
    tell(0);
}

/* Returns false if the service is gone. Ends the program after any other error. */
static bool works(struct camera* camera, ABufferSyncStatus status, const char* what) {
    if (status == ABUFFERSYNC_ERROR_SERVICE_DIED) {
        lose_group(camera);
        return false;
    }
    if (status != ABUFFERSYNC_OK) {
        fprintf(stderr, "camera: %s: %s (%s)\n", what, ABufferSyncStatus_toString(status),
                ABufferSync_getLastErrorMessage());
        exit(1);
    }
    return true;
}

static void watch(const struct camera* camera, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    must(epoll_ctl(camera->epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

/* Opens the group, now or after the service was gone. Returns false if the service is not there. */
static bool open_group(struct camera* camera) {
    ABufferSyncStatus status =
            ABufferSync_openGroup(camera->sync, "example/camera", camera->hold_nanos,
                                  ABUFFERSYNC_GROUP_DEFAULT, &camera->group);
    if (status == ABUFFERSYNC_ERROR_NO_SERVICE) {
        return false;
    }
    if (!works(camera, status, "openGroup")) {
        return false;
    }
    for (size_t at = 0; at < PLACES; at++) {
        struct place* place = &camera->places[at];
        if (!works(camera,
                   ABufferSyncGroup_addDmaBuf(camera->group, place->pixels_fd,
                                              ABUFFERSYNC_ACCESS_WRITE, &place->pixels_id),
                   "add") ||
            !works(camera,
                   ABufferSyncGroup_addDmaBuf(camera->group, place->statistics_fd,
                                              ABUFFERSYNC_ACCESS_WRITE, &place->statistics_id),
                   "add")) {
            return false;
        }
    }
    if (!works(camera, ABufferSyncGroup_getEventFd(camera->group, &camera->events), "getEventFd")) {
        return false;
    }
    watch(camera, camera->events);
    return true;
}

/* The grant was taken away: the frame is lost, and the next user of the buffers knows that they may be torn. */
static void lose_frame(const struct place* place) {
    ABufferSyncLockInTheWay next;
    bool known = ABufferSync_getLastErrorLock(&next) && next.owner != NULL;
    fprintf(stderr, "camera: frame %u took too long%s%s\n", (unsigned)place->number,
            known ? ", and was waited for by " : "", known ? next.owner : "");
    tell(0);
}

/* The camera holds both buffers of a place. */
static void expose(struct camera* camera, struct place* place, ABufferSyncLock lock) {
    place->waiting = 0;
    /* Before the frame is written, so a reader that comes too early is noticed. */
    tell(place->number);
    place->statistics[0] = place->number;
    /* If the grant was taken away, the unlock of the rest says so, too. */
    ABufferSyncStatus status = ABufferSyncGroup_unlockBuffers(camera->group, lock,
                                                              &place->statistics_id, 1, NULL, 0);
    if (status != ABUFFERSYNC_ERROR_EVICTED && !works(camera, status, "unlockBuffers")) {
        return;
    }
    for (size_t at = 0; at < camera->size / sizeof(uint32_t); at++) {
        place->pixels[at] = frame_word(place->number, at);
    }
    if (camera->is_slow) {
        camera->is_slow = false;
        usleep((useconds_t)(2 * camera->hold_nanos / 1000));
    }
    status = ABufferSyncGroup_unlock(camera->group, lock, -1);
    if (status == ABUFFERSYNC_ERROR_EVICTED) {
        lose_frame(place);
    } else {
        works(camera, status, "unlock");
    }
}

static void tick(struct camera* camera) {
    if (camera->group == NULL && !open_group(camera)) {
        return;
    }
    struct place* place = &camera->places[(camera->number + 1) % PLACES];
    if (place->waiting != 0) {
        return;
    }
    ABufferSyncWant wants[2] = {{place->pixels_id, ABUFFERSYNC_ACCESS_WRITE, 0},
                                {place->statistics_id, ABUFFERSYNC_ACCESS_WRITE, 0}};
    ABufferSyncLock lock = 0;
    bool granted = false;
    ABufferSyncStatus status =
            ABufferSyncGroup_startLock(camera->group, wants, 2, -1, &lock, &granted);
    if (!works(camera, status, "startLock")) {
        return;
    }
    place->number = ++camera->number;
    place->waiting = lock;
    if (granted) {
        expose(camera, place, lock);
    }
}

static struct place* place_of(struct camera* camera, ABufferSyncLock lock) {
    for (size_t at = 0; at < PLACES; at++) {
        if (camera->places[at].waiting == lock) {
            return &camera->places[at];
        }
    }
    return NULL;
}

static void read_events(struct camera* camera) {
    ABufferSyncEvent event;
    while (camera->group != NULL) {
        ABufferSyncStatus status = ABufferSyncGroup_getEvent(camera->group, &event);
        if (status == ABUFFERSYNC_ERROR_WOULD_BLOCK || !works(camera, status, "getEvent")) {
            return;
        }
        struct place* place = place_of(camera, event.lock);
        if (place == NULL) {
            /* An event of an earlier frame: its unlock has told the same. */
        } else if (event.type == ABUFFERSYNC_EVENT_GRANTED) {
            expose(camera, place, event.lock);
        } else if (event.type == ABUFFERSYNC_EVENT_LOCK_FAILED) {
            fprintf(stderr, "camera: frame dropped: errno %d\n", (int)event.error);
            place->waiting = 0;
        }
    }
}

static int start_timer(void) {
    struct itimerspec period = {{0, TICK_NANOS}, {0, TICK_NANOS}};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    must(timer >= 0 && timerfd_settime(timer, 0, &period, NULL) == 0, "timerfd");
    return timer;
}

static void run(struct camera* camera, int timer) {
    for (;;) {
        struct epoll_event ready[3];
        int count = epoll_wait(camera->epoll, ready, 3, -1);
        must(count >= 0 || errno == EINTR, "epoll_wait");
        for (int at = 0; at < count; at++) {
            uint64_t ticks;
            char line[16];
            if (ready[at].data.fd == STDIN_FILENO) {
                if (read(STDIN_FILENO, line, sizeof line) <= 0) {
                    return;
                }
                camera->is_slow = true;
            } else if (ready[at].data.fd != timer) {
                read_events(camera);
            } else if (read(timer, &ticks, sizeof ticks) > 0) {
                tick(camera);
            }
        }
    }
}

static uint32_t* map(int fd, size_t size) {
    void* start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(start != MAP_FAILED, "mmap");
    return start;
}

int main(int argc, char** argv) {
    if (argc != 7) {
        fprintf(stderr, "camera PIXELS_FD PIXELS_FD STATISTICS_FD STATISTICS_FD SIZE HOLD_MILLIS\n");
        return 2;
    }
    struct camera camera = {.size = strtoul(argv[5], NULL, 10),
                            .hold_nanos = strtoll(argv[6], NULL, 10) * 1000000};
    for (size_t at = 0; at < PLACES; at++) {
        struct place* place = &camera.places[at];
        place->pixels_fd = atoi(argv[1 + at]);
        place->statistics_fd = atoi(argv[3 + at]);
        place->pixels = map(place->pixels_fd, camera.size);
        place->statistics = map(place->statistics_fd, camera.size);
    }
    ABufferSyncStatus status = ABufferSync_waitForService(-1, &camera.sync);
    if (status != ABUFFERSYNC_OK) {
        fprintf(stderr, "camera: %s\n", ABufferSync_getLastErrorMessage());
        return 1;
    }
    camera.epoll = epoll_create1(EPOLL_CLOEXEC);
    must(camera.epoll >= 0, "epoll_create1");
    int timer = start_timer();
    watch(&camera, timer);
    watch(&camera, STDIN_FILENO);
    run(&camera, timer);

    /* This ends what waits or was granted meanwhile. */
    ABufferSyncGroup_close(camera.group);
    ABufferSync_close(camera.sync);
    close(timer);
    close(camera.epoll);
    for (size_t at = 0; at < PLACES; at++) {
        munmap(camera.places[at].pixels, camera.size);
        munmap(camera.places[at].statistics, camera.size);
    }
    return 0;
}
