/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * A client without a free descriptor locks a buffer whose last user left a pending fence. The kernel can't
 * deliver the reply, because it has the fence. The client and the service must still agree on who holds.
 *
 * The service must be patient: what it kept by mistake would stay locked for the hold limit.
 */

#include <string.h>
#include <sys/resource.h>

#include "expect.h"
#include "fenced_buffer.h"

static struct rlimit usual;

static ABufferSyncGroup* open_group(ABufferSync* sync, const char* name) {
    ABufferSyncGroup* group = NULL;
    OK(ABufferSync_openGroup(sync, name, 0, ABUFFERSYNC_GROUP_DEFAULT, &group));
    return group;
}

static ABufferSyncBufferId add(ABufferSyncGroup* group, const struct fenced_buffer* buffer,
                               ABufferSyncAccess access) {
    ABufferSyncBufferId id = 0;
    OK(ABufferSyncGroup_addDmaBuf(group, buffer->fd, access, &id));
    return id;
}

/* All descriptors below the limit are open afterwards. */
static void run_out_of_descriptors(void) {
    struct rlimit limit = usual;
    for (limit.rlim_cur = 0; fcntl((int)limit.rlim_cur, F_GETFD) >= 0;) {
        limit.rlim_cur++;
    }
    EXPECT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT(dup(STDIN_FILENO), -1);
}

static void have_descriptors_again(void) {
    EXPECT(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

/* The last error says what has happened and what to do. */
static void expect_explanation(void) {
    const char* message = ABufferSync_getLastErrorMessage();
    EXPECT(strstr(message, "reply") != NULL, 1);
    EXPECT(strstr(message, "close descriptors") != NULL, 1);
}

/* The service has no lock of the group. */
static void expect_no_locks(ABufferSyncGroup* group) {
    size_t count = 7;
    OK(ABufferSyncGroup_getLocks(group, NULL, 0, &count));
    EXPECT(count, 0);
}

/* A device has written the buffer, and its fence is pending. */
static void leave_fence(ABufferSyncGroup* gpu, struct fenced_buffer* buffer) {
    ABufferSyncLock lock = lock_all(gpu);
    OK(ABufferSyncGroup_unlock(gpu, lock, start_work(buffer)));
}

/* The next lock works at once, and has the fence. */
static void expect_lock_with_fence(ABufferSyncGroup* group, ABufferSyncWant want) {
    ABufferSyncLock lock = 0;
    int fence = -1;
    OK(ABufferSyncGroup_tryLock(group, &want, 1, &lock));
    OK(ABufferSyncGroup_getAcquireFence(group, lock, 0, &fence));
    EXPECT(fence >= 0, 1);
    close(fence);
    unlock(group, lock);
}

/* Returns false if the fence did not last as long as the scenario. */
static bool a_lock(ABufferSync* sync) {
    struct fenced_buffer frame = allocate_buffer();
    ABufferSyncGroup* gpu = open_group(sync, "no descriptor/gpu");
    ABufferSyncGroup* display = open_group(sync, "no descriptor/display");
    ABufferSyncGroup* next = open_group(sync, "no descriptor/next");
    add(gpu, &frame, ABUFFERSYNC_ACCESS_DMA_WRITE);
    add(next, &frame, ABUFFERSYNC_ACCESS_WRITE);
    ABufferSyncWant want = {add(display, &frame, ABUFFERSYNC_ACCESS_DMA_READ),
                            ABUFFERSYNC_ACCESS_DMA_READ, 0};
    ABufferSyncLock lock = 7;
    leave_fence(gpu, &frame);

    run_out_of_descriptors();
    FAILS(ABufferSyncGroup_lock(display, &want, 1, HUNG, &lock), NO_RESOURCES);
    expect_explanation();
    EXPECT(lock, 7);
    expect_no_locks(display);
    have_descriptors_again();
    expect_lock_with_fence(display, want);

    run_out_of_descriptors();
    FAILS(ABufferSyncGroup_lock(display, NULL, 0, HUNG, &lock), NO_RESOURCES);
    expect_explanation();
    EXPECT(lock, 7);
    expect_no_locks(display);
    have_descriptors_again();

    /* Another group needs nothing but the fence. */
    lock = queue_all(next);
    bool lasted = finish_work(&frame);
    wait_for_event(next, ABUFFERSYNC_EVENT_GRANTED);
    unlock(next, lock);
    unlock(display, try_lock_all(display));

    ABufferSyncGroup_close(gpu);
    ABufferSyncGroup_close(display);
    ABufferSyncGroup_close(next);
    free_buffer(&frame);
    return lasted;
}

/* From one frame to the next in one call: both locks have ended, and the first frame never has two holders. */
static bool an_exchange(ABufferSync* sync) {
    struct fenced_buffer first = allocate_buffer(), second = allocate_buffer();
    ABufferSyncGroup* gpu = open_group(sync, "no descriptor/gpu");
    ABufferSyncGroup* display = open_group(sync, "no descriptor/display");
    ABufferSyncGroup* writer = open_group(sync, "no descriptor/writer");
    add(gpu, &second, ABUFFERSYNC_ACCESS_DMA_WRITE);
    add(writer, &first, ABUFFERSYNC_ACCESS_DMA_WRITE);
    ABufferSyncWant wants[2] = {
            {add(display, &first, ABUFFERSYNC_ACCESS_DMA_READ), ABUFFERSYNC_ACCESS_DMA_READ, 0},
            {add(display, &second, ABUFFERSYNC_ACCESS_DMA_READ), ABUFFERSYNC_ACCESS_DMA_READ, 0},
    };
    ABufferSyncLock shown = 0, next = 7, written = 0;
    ABufferSyncGrant grant;
    leave_fence(gpu, &second);
    OK(ABufferSyncGroup_tryLock(display, wants, 1, &shown));
    FAILS(ABufferSyncGroup_tryLock(writer, NULL, 0, &written), WOULD_BLOCK);

    run_out_of_descriptors();
    FAILS(ABufferSyncGroup_unlockAndLock(display, shown, NULL, 0, &wants[1], 1, HUNG, &next),
          NO_RESOURCES);
    expect_explanation();
    EXPECT(next, 7);
    expect_no_locks(display);
    FAILS(ABufferSyncGroup_getGrant(display, shown, &grant), ENDED);
    written = try_lock_all(writer);
    FAILS(ABufferSyncGroup_getGrant(display, shown, &grant), ENDED);
    FAILS(ABufferSyncGroup_unlock(display, shown, -1), ENDED);
    have_descriptors_again();
    unlock(writer, written);
    expect_lock_with_fence(display, wants[1]);

    /* The same with a lock that has both frames. */
    shown = try_lock_all(display);
    run_out_of_descriptors();
    FAILS(ABufferSyncGroup_unlockAndLock(display, shown, NULL, 0, NULL, 0, HUNG, &next),
          NO_RESOURCES);
    expect_explanation();
    FAILS(ABufferSyncGroup_getGrant(display, shown, &grant), ENDED);
    expect_no_locks(display);
    written = try_lock_all(writer);
    FAILS(ABufferSyncGroup_unlock(display, shown, -1), ENDED);
    have_descriptors_again();
    unlock(writer, written);
    expect_lock_with_fence(display, wants[1]);
    bool lasted = finish_work(&second);

    ABufferSyncGroup_close(gpu);
    ABufferSyncGroup_close(display);
    ABufferSyncGroup_close(writer);
    free_buffer(&first);
    free_buffer(&second);
    return lasted;
}

/* Repeats a scenario if the machine was so slow that the fence signalled by itself. */
static void run(bool (*scenario)(ABufferSync*), ABufferSync* sync) {
    int before = failures;
    bool lasted = false;
    for (int times = 0; times < 10 && !lasted; times++) {
        failures = before;
        lasted = scenario(sync);
    }
    EXPECT(lasted, 1);
}

int main(void) {
    ABufferSync* sync = NULL;
    EXPECT(getrlimit(RLIMIT_NOFILE, &usual), 0);
    OK(ABufferSync_open(&sync));
    run(a_lock, sync);
    run(an_exchange, sync);
    ABufferSync_close(sync);
    return failures == 0 ? 0 : 1;
}
