/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * The service has no free descriptor: by a low limit, or because another user has added buffers until the service
 * refused more. Clients that have their groups and buffers go on to lock and unlock, also with fences.
 *
 *   service_without_descriptor SERVICE_PID HOG_UID
 *
 * Needs root, to change the limit of the service. The service must be patient.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "expect.h"
#include "fenced_buffer.h"

#define DESCRIPTORS 65536
#define FRAMES 20

static pid_t service;
static struct rlimit usual;

struct stage {
    ABufferSyncGroup* group;
    ABufferSyncBufferId buffer;
};

static struct stage open_stage(ABufferSync* sync, const char* name,
                               const struct fenced_buffer* buffer, ABufferSyncAccess access) {
    struct stage stage = {NULL, 0};
    OK(ABufferSync_openGroup(sync, name, 0, ABUFFERSYNC_GROUP_DEFAULT, &stage.group));
    OK(ABufferSyncGroup_addDmaBuf(stage.group, buffer->fd, access, &stage.buffer));
    return stage;
}

/* Leaves the service this many numbers for descriptors. */
static void limit_service(size_t free_numbers) {
    static bool is_open[DESCRIPTORS];
    memset(is_open, 0, sizeof(is_open));
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)service);
    DIR* folder = opendir(path);
    must(folder != NULL, path);
    for (struct dirent* entry; (entry = readdir(folder)) != NULL;) {
        long number = strtol(entry->d_name, NULL, 10);
        if (entry->d_name[0] != '.' && number < DESCRIPTORS) {
            is_open[number] = true;
        }
    }
    closedir(folder);
    struct rlimit limit = usual;
    for (limit.rlim_cur = 0; is_open[limit.rlim_cur] || free_numbers-- > 0;) {
        limit.rlim_cur++;
    }
    EXPECT(prlimit(service, RLIMIT_NOFILE, &limit, NULL), 0);
}

static void lift_limit(void) {
    EXPECT(prlimit(service, RLIMIT_NOFILE, &usual, NULL), 0);
}

/* The service holds nothing for the group. */
static void expect_nothing_held(ABufferSyncGroup* group) {
    size_t count = 7;
    OK(ABufferSyncGroup_getLocks(group, NULL, 0, &count));
    EXPECT(count, 0);
}

/* The next user gets the buffer, which nobody was evicted from. */
static void expect_free(struct stage next) {
    ABufferSyncBufferState state = {.flags = 0xff};
    ABufferSyncLock lock = try_lock_all(next.group);
    OK(ABufferSyncGroup_getBufferState(next.group, lock, next.buffer, &state));
    EXPECT(state.flags & (ABUFFERSYNC_BUFFER_EVICTED | ABUFFERSYNC_BUFFER_TORN), 0);
    unlock(next.group, lock);
}

/* The dump lists the evictions. It has none of a group of this name. */
static void expect_no_eviction(ABufferSync* sync, const char* name) {
    static char text[1 << 20];
    int file = memfd_create("dump", MFD_CLOEXEC);
    OK(ABufferSync_dump(sync, file));
    ssize_t size = pread(file, text, sizeof(text) - 1, 0);
    must(size > 0, "dump");
    text[size] = 0;
    close(file);
    EXPECT(strstr(text, "evictions (") != NULL, 1);
    int evictions = 0;
    for (char* line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strstr(line, " ago: ") != NULL && strstr(line, name) != NULL) {
            fprintf(stderr, "%s\n", line);
            evictions++;
        }
    }
    EXPECT(evictions, 0);
}

/* The kernel can't deliver a fence to the service. The work is finished even before the unlock. */
static void finished_fences(ABufferSync* sync) {
    struct fenced_buffer frame = allocate_buffer();
    struct stage camera = open_stage(sync, "full/camera", &frame, ABUFFERSYNC_ACCESS_DMA_WRITE);
    struct stage encoder = open_stage(sync, "full/encoder", &frame, ABUFFERSYNC_ACCESS_DMA_READ);
    ABufferSyncGrant grant;
    ABufferSyncLock lock = lock_all(camera.group);
    int fence = start_work(&frame);
    finish_work(&frame);
    limit_service(0);
    OK(ABufferSyncGroup_unlock(camera.group, lock, fence));
    FAILS(ABufferSyncGroup_getGrant(camera.group, lock, &grant), ENDED);
    expect_nothing_held(camera.group);
    expect_free(encoder);

    /* The fence in an array. */
    OK(ABufferSyncGroup_lock(camera.group, NULL, 0, HUNG, &lock));
    ABufferSyncFence given = {0, start_work(&frame), 0};
    finish_work(&frame);
    OK(ABufferSyncGroup_unlockBuffers(camera.group, lock, NULL, 0, &given, 1));
    FAILS(ABufferSyncGroup_getGrant(camera.group, lock, &grant), ENDED);
    expect_nothing_held(camera.group);
    expect_free(encoder);

    /* A buffer that is returned by itself. */
    OK(ABufferSyncGroup_lock(camera.group, NULL, 0, HUNG, &lock));
    given = (ABufferSyncFence){camera.buffer, start_work(&frame), 0};
    finish_work(&frame);
    OK(ABufferSyncGroup_unlockBuffers(camera.group, lock, &camera.buffer, 1, &given, 1));
    expect_nothing_held(camera.group);
    expect_free(encoder);
    lift_limit();

    expect_free(encoder);
    expect_no_eviction(sync, "full/");
    ABufferSyncGroup_close(camera.group);
    ABufferSyncGroup_close(encoder.group);
    free_buffer(&frame);
}

/* Another user, in a process of its own: takes descriptors of the service until it gets no more. */
struct hog {
    pid_t pid;
    int start, full, end;
};

static void be_hog(uid_t uid, int start, int full, int end) {
    char byte = 0;
    must(read(start, &byte, 1) == 1, "start");
    must(setgid(uid) == 0 && setuid(uid) == 0, "setuid");
    ABufferSync* sync = NULL;
    ABufferSyncStatus opened = ABUFFERSYNC_OK, added = ABUFFERSYNC_OK;
    OK(ABufferSync_open(&sync));
    while (failures == 0 && opened == ABUFFERSYNC_OK) {
        ABufferSyncGroup* group = NULL;
        opened = ABufferSync_openGroup(sync, "full/hog", 0, ABUFFERSYNC_GROUP_DEFAULT, &group);
        added = opened;
        for (int nth = 0; nth < 60 && added == ABUFFERSYNC_OK; nth++) {
            struct fenced_buffer buffer = allocate_buffer();
            added = ABufferSyncGroup_addDmaBuf(group, buffer.fd, ABUFFERSYNC_ACCESS_READ, NULL);
            free_buffer(&buffer);
        }
    }
    EXPECT(opened, ABUFFERSYNC_ERROR_NO_RESOURCES);
    EXPECT(added, ABUFFERSYNC_ERROR_NO_RESOURCES);
    must(write(full, &byte, 1) == 1, "full");
    /* Until the other end is closed. */
    must(read(end, &byte, 1) == 0, "end");
    _exit(failures == 0 ? 0 : 1);
}

/* Starts before this process connects: a forked child can't use its parent's connection. */
static struct hog fork_hog(uid_t uid) {
    int start[2], full[2], end[2];
    must(pipe(start) == 0 && pipe(full) == 0 && pipe(end) == 0, "pipe");
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        close(start[1]);
        close(end[1]);
        be_hog(uid, start[0], full[1], end[0]);
    }
    close(start[0]);
    close(full[1]);
    close(end[0]);
    return (struct hog){pid, start[1], full[0], end[1]};
}

static void* finish_later(void* frame) {
    sleep_millis(50);
    finish_work(frame);
    return NULL;
}

/* A frame through the camera and the encoder. The encoder may get the frame's fence, or wait for it. */
static void one_frame(struct stage camera, struct stage encoder, struct fenced_buffer* frame,
                      bool part) {
    ABufferSyncLock lock = 0;
    OK(ABufferSyncGroup_lock(camera.group, NULL, 0, HUNG, &lock));
    ABufferSyncFence fence = {0, start_work(frame), 0};
    pthread_t device;
    EXPECT(pthread_create(&device, NULL, finish_later, frame), 0);
    OK(ABufferSyncGroup_unlockBuffers(camera.group, lock, part ? &camera.buffer : NULL,
                                      part ? 1 : 0, &fence, 1));
    unlock(encoder.group, lock_all(encoder.group));
    EXPECT(pthread_join(device, NULL), 0);
    expect_nothing_held(camera.group);
    expect_free(encoder);
}

static void another_users_buffers(ABufferSync* sync, struct hog hog) {
    struct fenced_buffer frame = allocate_buffer();
    struct stage camera = open_stage(sync, "full/camera", &frame, ABUFFERSYNC_ACCESS_DMA_WRITE);
    struct stage encoder = open_stage(sync, "full/encoder", &frame, ABUFFERSYNC_ACCESS_DMA_READ);
    char byte = 0;
    limit_service(200);
    must(write(hog.start, &byte, 1) == 1 && read(hog.full, &byte, 1) == 1, "hog");
    for (int nth = 0; nth < FRAMES && failures == 0; nth++) {
        one_frame(camera, encoder, &frame, nth % 2 == 1);
    }
    ABufferSyncGroup* group = NULL;
    FAILS(ABufferSync_openGroup(sync, "full/new", 0, ABUFFERSYNC_GROUP_DEFAULT, &group),
          NO_RESOURCES);
    EXPECT(strstr(ABufferSync_getLastErrorMessage(), "service is out of descriptors") != NULL, 1);
    EXPECT(group == NULL, 1);
    struct fenced_buffer other = allocate_buffer();
    FAILS(ABufferSyncGroup_addDmaBuf(camera.group, other.fd, ABUFFERSYNC_ACCESS_DMA_WRITE, NULL),
          NO_RESOURCES);
    /* The refused calls have changed nothing. */
    one_frame(camera, encoder, &frame, false);

    int status = -1;
    close(hog.end);
    EXPECT(waitpid(hog.pid, &status, 0), hog.pid);
    EXPECT(status, 0);
    lift_limit();
    OK(ABufferSyncGroup_addDmaBuf(camera.group, other.fd, ABUFFERSYNC_ACCESS_DMA_WRITE, NULL));
    expect_no_eviction(sync, "full/camera");
    expect_no_eviction(sync, "full/encoder");
    ABufferSyncGroup_close(camera.group);
    ABufferSyncGroup_close(encoder.group);
    free_buffer(&frame);
    free_buffer(&other);
}

int main(int argc, char** argv) {
    if (argc != 3) {
        return 2;
    }
    service = (pid_t)strtol(argv[1], NULL, 10);
    struct hog hog = fork_hog((uid_t)strtoul(argv[2], NULL, 10));
    EXPECT(prlimit(service, RLIMIT_NOFILE, NULL, &usual), 0);
    ABufferSync* sync = NULL;
    OK(ABufferSync_open(&sync));
    finished_fences(sync);
    another_users_buffers(sync, hog);
    ABufferSync_close(sync);
    return failures == 0 ? 0 : 1;
}
