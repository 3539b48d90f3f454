/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * What the objects of <android/buffer_sync.hpp> do at the end of their scopes, after errors, and between threads.
 *
 *   objects DMABUF_FD DMABUF_FD
 */

#include <android/buffer_sync.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "fenced_buffer.h"

namespace {

namespace bs = android::buffersync;
using namespace std::chrono_literals;

int failures = 0;

void expectAt(int line, const char* what, bool is) {
    if (!is) {
        std::fprintf(stderr, "objects.cc:%d: not %s\n", line, what);
        failures++;
    }
}

#define EXPECT(what) expectAt(__LINE__, #what, static_cast<bool>(what))

/* A group with one buffer. */
struct Party {
    bs::Group group;
    bs::BufferId id;
};

Party open(const bs::Connection& connection, int fd, bs::Options options = {}, bs::Access access = bs::Access::Write) {
    auto group = connection.openGroup("objects/group", options);
    EXPECT(group);
    auto id = group->addDmaBuf(fd, access);
    EXPECT(id);
    return {*std::move(group), *id};
}

size_t locksOf(bs::Group& group) {
    auto locks = group.locks();
    EXPECT(locks);
    return locks->size();
}

/* A grant ends with its object, once. */
void ends_of_scopes(const bs::Connection& connection, int fd) {
    Party one = open(connection, fd), other = open(connection, fd);
    {
        auto grant = one.group.lock(60s);
        EXPECT(grant && locksOf(one.group) == 1);
        bs::Grant moved = *std::move(grant);
        EXPECT(moved && !*grant);
        moved = bs::Grant();
        EXPECT(locksOf(one.group) == 0);
    }
    {
        auto grant = one.group.lock(60s);
        auto waits = other.group.startLock({}, bs::kNoTimeout);
        EXPECT(waits && !waits->granted);
        EXPECT(waits->lock.info().status() == ABUFFERSYNC_ERROR_BUSY);
        auto refused = other.group.tryLock();
        EXPECT(refused.status() == ABUFFERSYNC_ERROR_ALREADY_LOCKED && !refused.status().message().empty());
    }
    /* The lock that waited has ended, too. */
    EXPECT(locksOf(one.group) == 0 && locksOf(other.group) == 0);
    /* A grant that outlives its group. */
    bs::Grant late;
    {
        Party brief = open(connection, fd);
        late = *brief.group.lock(60s);
    }
    EXPECT(late.unlock() == ABUFFERSYNC_ERROR_INVALID_HANDLE);
    EXPECT(one.group.lock(60s));
}

/* Errors have values, and a list that is empty by chance is not all. */
void errors(const bs::Connection& connection, int fd) {
    Party holder = open(connection, fd), next = open(connection, fd);
    auto grant = holder.group.lock(60s);
    auto timed_out = next.group.lock(20ms);
    EXPECT(timed_out.status() == ABUFFERSYNC_ERROR_TIMED_OUT);
    const auto& by = timed_out.status().inTheWay();
    EXPECT(by && by->lock == grant->id() && by->owner == "objects/group");
    EXPECT(next.group.groupName(by->group).value() == "objects/group");
    std::vector<bs::Want> no_wants;
    EXPECT(next.group.lock(no_wants, 60s).status() == ABUFFERSYNC_ERROR_INVALID_ARGUMENT);
    EXPECT(grant->unlockBuffers(std::vector<bs::BufferId>()) == ABUFFERSYNC_ERROR_INVALID_ARGUMENT);
    EXPECT(grant->unlockBuffers({next.id + 1000}) == ABUFFERSYNC_ERROR_UNKNOWN_BUFFER);
    EXPECT(*grant && grant->info());
    EXPECT(grant->unlockBuffers({}) == ABUFFERSYNC_ERROR_INVALID_ARGUMENT && *grant);
    EXPECT(grant->unlock({}));
    EXPECT(!*grant);
    EXPECT(bs::Group().lock(60s).status() == ABUFFERSYNC_ERROR_INVALID_ARGUMENT);
    EXPECT(connection.openGroup("").status() == ABUFFERSYNC_ERROR_INVALID_ARGUMENT);
    EXPECT(!next.group.nextEvent()->has_value());
}

/* If the service refuses the exchange, the old grant ends with its fence, and not without it. */
void refused_exchange(const bs::Connection& connection) {
    fenced_buffer frame = allocate_buffer();
    {
        Party gpu = open(connection, frame.fd, {}, bs::Access::DmaWrite);
        Party display = open(connection, frame.fd, {}, bs::Access::DmaRead);
        auto grant = gpu.group.lock(60s);
        auto next = grant->unlockAndLock({{gpu.id + 1000, bs::Access::DmaRead}}, 60s, bs::UniqueFd(start_work(&frame)));
        EXPECT(next.status() == ABUFFERSYNC_ERROR_UNKNOWN_BUFFER && !*grant && locksOf(gpu.group) == 0);
        auto shown = display.group.lock(60s);
        EXPECT(shown && shown->acquireFence().value());
        finish_work(&frame);
        EXPECT(shown->unlock());
        EXPECT(gpu.group.lock(60s)->unlockAndLock({}, 60s));
    }
    free_buffer(&frame);
}

/* Two threads, two groups: only one is inside at a time. */
void mutex_excludes(const bs::Connection& connection, int fd) {
    Party one = open(connection, fd), other = open(connection, fd);
    bs::Mutex mutexes[2] = {bs::Mutex(one.group), bs::Mutex(other.group, {bs::Want(other.id, bs::Access::Write)})};
    std::atomic<int> inside = 0, done = 0;
    auto work = [&](bs::Mutex& mutex) {
        for (int times = 0; times < 20; times++) {
            std::unique_lock lock(mutex);
            EXPECT(mutex.owns() && mutex.status() && inside++ == 0);
            std::this_thread::yield();
            inside--;
            done++;
        }
    };
    std::vector<std::thread> threads;
    for (int nth = 0; nth < 4; nth++) {
        threads.emplace_back(work, std::ref(mutexes[nth % 2]));
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT(done == 80 && locksOf(one.group) == 0 && locksOf(other.group) == 0);
}

/* A lock that fails leaves the mutex locked and the buffers alone, and nothing unlocks what another thread has. */
void mutex_after_errors(const bs::Connection& connection, int fd) {
    Party holder = open(connection, fd), next = open(connection, fd);
    bs::Mutex mutex(next.group, {}, 20ms);
    auto held = holder.group.lock(60s);
    {
        std::lock_guard lock(mutex);
        EXPECT(!mutex.owns() && mutex.status() == ABUFFERSYNC_ERROR_TIMED_OUT && mutex.finish());
        std::thread other([&] {
            EXPECT(!mutex.try_lock());
            mutex.unlock();
            EXPECT(!mutex.try_lock());
        });
        other.join();
    }
    EXPECT(!std::unique_lock(mutex, std::try_to_lock) && mutex.status() == ABUFFERSYNC_ERROR_WOULD_BLOCK);
    EXPECT(!std::unique_lock(mutex, 20ms) && !mutex.status());
    EXPECT(!std::unique_lock(mutex, -1s));
    mutex.unlock();
    EXPECT(locksOf(holder.group) == 1 && locksOf(next.group) == 0);
    EXPECT(held->unlock());
    {
        std::unique_lock lock(mutex, 60s);
        EXPECT(lock && mutex.owns());
        std::thread stray([&] { mutex.unlock(); });
        stray.join();
        EXPECT(mutex.owns() && mutex.grant().info());
        EXPECT(mutex.finish() && !mutex.owns() && locksOf(next.group) == 0);
        /* The thread still has the mutex. */
        std::thread other([&] { EXPECT(!mutex.try_lock()); });
        other.join();
    }
    EXPECT(std::unique_lock(mutex, 60s));
}

/* An eviction is told by finish(), and remembered. */
void mutex_is_evicted(const bs::Connection& connection, int fd) {
    bs::Options brief;
    brief.holdLimit = 50ms;
    Party slow = open(connection, fd, brief), next = open(connection, fd);
    bs::Mutex mutex(slow.group);
    {
        std::lock_guard lock(mutex);
        EXPECT(next.group.lock(60s));
        EXPECT(mutex.finish() == ABUFFERSYNC_ERROR_EVICTED && !mutex.owns());
    }
    EXPECT(mutex.status() == ABUFFERSYNC_ERROR_EVICTED);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        return 2;
    }
    auto connection = bs::Connection::open();
    EXPECT(connection && connection->capability(ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS).value() > 0);
    int fd = std::atoi(argv[1]);
    ends_of_scopes(*connection, fd);
    errors(*connection, fd);
    refused_exchange(*connection);
    mutex_excludes(*connection, fd);
    mutex_after_errors(*connection, fd);
    mutex_is_evicted(*connection, fd);
    int fds[3] = {std::atoi(argv[2]), -1, fd};
    Party all = open(*connection, fd);
    auto ids = all.group.addNativeHandle(fds, 3, bs::Access::Read);
    EXPECT(ids && ids->size() == 2 && (*ids)[1] == all.id);
    return failures == 0 ? 0 : 1;
}
