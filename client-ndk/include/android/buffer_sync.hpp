/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/**
 * @file buffer_sync.hpp
 * @brief <android/buffer_sync.h> for C++17: handles, locks and descriptors are objects, which release what they have
 * at the end of their scope.
 *
 *     auto grant = group.lock(std::chrono::seconds(5));
 *     if (!grant) return grant.status();
 *     draw(pixels);
 *     return grant->unlock();
 *
 * A Connection opens groups. A Group has dma-bufs and locks. A Grant is one lock. What each call means, and its
 * errors, is in <android/buffer_sync.h>: a member function calls the C function of the same name.
 *
 * Errors. Nothing here throws an exception, and the header compiles with -fno-exceptions and -fno-rtti. (Only the
 * containers of the standard library report a lack of memory in their own way.) A call returns a Status, or a Result:
 * a value or a Status. The compiler warns if either is ignored. A destructor can't report an error, so end what matters
 * by a call: Grant::unlock() tells if the grant was taken away before.
 *
 * Threads. Group is like the C functions: every thread may call, but move, close and destroy it in one thread. Other objects are like those of the standard library:
 * one thread at a time, except Mutex.
 *
 * Everything here is inline: a program needs no library but libbuffersync.
 */

#ifndef ANDROID_BUFFER_SYNC_HPP
#define ANDROID_BUFFER_SYNC_HPP

#include <android/buffer_sync.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace android::buffersync {

using BufferId = ABufferSyncBufferId;
using LockId = ABufferSyncLock;
using Event = ABufferSyncEvent;
using GrantInfo = ABufferSyncGrant;
using BufferState = ABufferSyncBufferState;
using LockStatus = ABufferSyncLockStatus;

/** A time-out that never ends a wait. The deadlines of other holders do. */
inline constexpr std::chrono::nanoseconds kNoTimeout{-1};

/** How a group or a lock uses a buffer. */
enum class Access : int32_t {
    Read = ABUFFERSYNC_ACCESS_READ,
    Write = ABUFFERSYNC_ACCESS_WRITE,
    DmaRead = ABUFFERSYNC_ACCESS_DMA_READ,
    DmaWrite = ABUFFERSYNC_ACCESS_DMA_WRITE,
};

/** Another lock, which was in the way or was waiting. */
struct LockInTheWay {
    /** The service's number of its group, as in dumps. */
    int64_t group = 0;
    /** The number of the lock in that group. */
    LockId lock = 0;
    /** The name of that group; empty if it is closed, or if this process may not know it. */
    std::string owner;
};

/** The result of a call without a value. */
class [[nodiscard]] Status {
  public:
    /** Success. */
    Status() = default;

    /** The result of a C function that has just returned in this thread, with what the thread remembers of it. */
    static Status of(ABufferSyncStatus code) {
        Status status;
        if (code == ABUFFERSYNC_OK) {
            return status;
        }
        status.code_ = code;
        status.message_ = ABufferSync_getLastErrorMessage();
        ABufferSyncLockInTheWay by;
        if ((code == ABUFFERSYNC_ERROR_TIMED_OUT || code == ABUFFERSYNC_ERROR_EVICTED) &&
            ABufferSync_getLastErrorLock(&by)) {
            status.inTheWay_ = LockInTheWay{by.group, by.lock, by.owner != nullptr ? by.owner : ""};
        }
        return status;
    }

    /** An error of this header. */
    static Status error(ABufferSyncStatus code, std::string message) {
        Status status;
        status.code_ = code;
        status.message_ = std::move(message);
        return status;
    }

    bool ok() const { return code_ == ABUFFERSYNC_OK; }
    explicit operator bool() const { return ok(); }
    ABufferSyncStatus code() const { return code_; }
    friend bool operator==(const Status& status, ABufferSyncStatus code) { return status.code_ == code; }
    friend bool operator!=(const Status& status, ABufferSyncStatus code) { return status.code_ != code; }
#if __cplusplus < 202002L
    /* From C++20 on, the compiler turns the operands round itself. */
    friend bool operator==(ABufferSyncStatus code, const Status& status) { return status.code_ == code; }
    friend bool operator!=(ABufferSyncStatus code, const Status& status) { return status.code_ != code; }
#endif

    /** The value that is wrong, the limit, and what to do; empty after success. */
    const std::string& message() const { return message_; }

    /** After TIMED_OUT: a lock that is in the way. After EVICTED: a lock that was waiting. */
    const std::optional<LockInTheWay>& inTheWay() const { return inTheWay_; }

  private:
    ABufferSyncStatus code_ = ABUFFERSYNC_OK;
    std::string message_;
    std::optional<LockInTheWay> inTheWay_;
};

/** A value, or the Status of the call that would have made it. */
template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value) : value_(std::move(value)) {}
    /** An error. */
    Result(Status error) : status_(std::move(error)) {}

    bool ok() const { return value_.has_value(); }
    explicit operator bool() const { return ok(); }
    /** Success if there is a value. */
    const Status& status() const& { return status_; }
    Status status() && { return std::move(status_); }

    /** The value. Ends the program if there is none: ask ok() first. */
    T& value() & { return *checked(value_); }
    const T& value() const& { return *checked(value_); }
    T&& value() && { return std::move(*checked(value_)); }
    T& operator*() & { return *checked(value_); }
    const T& operator*() const& { return *checked(value_); }
    T&& operator*() && { return std::move(*checked(value_)); }
    T* operator->() { return &*checked(value_); }
    const T* operator->() const { return &*checked(value_); }

  private:
    template <typename Optional>
    static Optional& checked(Optional& value) {
        if (!value.has_value()) {
            std::abort();
        }
        return value;
    }

    Status status_;
    std::optional<T> value_;
};

/** A descriptor, which is closed at the end. */
class UniqueFd {
  public:
    /** None: -1. */
    UniqueFd() = default;
    /** Takes a descriptor; a negative number is none. */
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        reset(other.release());
        return *this;
    }
    ~UniqueFd() { reset(); }

    /** The descriptor; this object keeps it. */
    int get() const { return fd_; }
    explicit operator int() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    /** The descriptor; the caller closes it. */
    int release() { return std::exchange(fd_, -1); }
    /** Closes the descriptor, and takes another. */
    void reset(int fd = -1) {
        int old = std::exchange(fd_, fd);
        if (old >= 0) {
            ::close(old);
        }
    }

  private:
    int fd_ = -1;
};

/** A buffer that a lock asks for. */
struct Want : ABufferSyncWant {
    constexpr Want(BufferId id, Access how) : ABufferSyncWant{id, static_cast<ABufferSyncAccess>(how), 0} {}
};
static_assert(sizeof(Want) == sizeof(ABufferSyncWant), "an array of one is an array of the other");

/**
 * All, or some values that are named: {}, {a, b}, an array or a vector. A vector without elements is not all: the call
 * is refused, with INVALID_ARGUMENT. Does not own the values, so it is for arguments only.
 */
template <typename T>
class Some {
  public:
    /** All. */
    constexpr Some() = default;
    Some(std::initializer_list<T> values) : Some(values.begin(), values.size()) {}
    Some(const std::vector<T>& values) : Some(values.data(), values.size()) {}
    template <size_t N>
    Some(const std::array<T, N>& values) : Some(values.data(), N) {}
    template <size_t N>
    Some(const T (&values)[N]) : Some(values, N) {}
    Some(const T* values, size_t count) : first_(values != nullptr ? values : none()), count_(count) {}

    const T* data() const { return first_; }
    size_t size() const { return count_; }

    /** These values; none of them if it stands for all. */
    Some named() const { return Some(first_, count_); }

  private:
    /* Names no value. Its address is not null, and aligned. */
    static const T* none() {
        alignas(T) static const char place[sizeof(T)] = {};
        return reinterpret_cast<const T*>(place);
    }

    const T* first_ = nullptr;
    size_t count_ = 0;
};

/**
 * Release fences: sync_files, for single buffers and for the rest. The work on a buffer ends when its fence has
 * signalled; without a fence it is finished.
 */
class Fences {
  public:
    /** All work is finished. */
    Fences() = default;
    /** One fence for all buffers that have no fence of their own; or none. */
    Fences(UniqueFd rest) { add(0, std::move(rest)); }

    /** The fence of one buffer. An empty UniqueFd is no fence. */
    Fences& add(BufferId buffer, UniqueFd fence) {
        if (fence) {
            all_.push_back({buffer, std::move(fence)});
        }
        return *this;
    }

  private:
    friend class Grant;

    struct Fence {
        BufferId buffer;
        UniqueFd fd;
    };

    /** A copy, with descriptors of its own. Nothing if this process has no free descriptor. */
    std::optional<Fences> copy() const {
        Fences copy;
        for (const Fence& fence : all_) {
            UniqueFd fd(::fcntl(fence.fd.get(), F_DUPFD_CLOEXEC, 0));
            if (!fd) {
                return std::nullopt;
            }
            copy.add(fence.buffer, std::move(fd));
        }
        return copy;
    }

    /** The descriptors for a C function, which takes them. */
    std::vector<ABufferSyncFence> release() {
        std::vector<ABufferSyncFence> given;
        given.reserve(all_.size());
        for (Fence& fence : all_) {
            given.push_back({fence.buffer, fence.fd.release(), 0});
        }
        all_.clear();
        return given;
    }

    std::vector<Fence> all_;
};

/**
 * A lock of a group: granted or waiting. It ends by unlock(), or at the end of the scope, when all work of the buffers
 * must be finished. Declare groups before their grants: a group that is closed first evicts them, because nobody has
 * said that the work was finished. The Grant does nothing then.
 *
 * If parts of it were unlocked until nothing was left, it has ended: then unlock() returns ENDED, and the destructor
 * does nothing. The destructor leaves a lock alone for which another thread waits.
 */
class Grant {
  public:
    /** No lock. */
    Grant() = default;
    /** Takes over a lock of a group by its number. */
    Grant(ABufferSyncGroup* group, LockId lock) : group_(group), lock_(lock) {}
    Grant(Grant&& other) noexcept : group_(other.group_), lock_(other.release()) {}
    Grant& operator=(Grant&& other) noexcept {
        if (this != &other) {
            end();
            group_ = other.group_;
            lock_ = other.release();
        }
        return *this;
    }
    ~Grant() { end(); }

    /**
     * It has a lock that this object has not ended. The lock may have ended by itself: it was taken away, it has timed
     * out, or its last part was unlocked. Then info() says so, and unlock() and the destructor do no harm.
     */
    explicit operator bool() const { return lock_ != 0; }
    /** The number of the lock, as in events; 0 for no lock. */
    LockId id() const { return lock_; }
    /** The number; the lock goes on without this object. */
    LockId release() { return std::exchange(lock_, 0); }

    /** EVICTED if the grant was taken away, BUSY while the lock waits. */
    Result<GrantInfo> info() const {
        GrantInfo info;
        ABufferSyncStatus code = ABufferSyncGroup_getGrant(group_, lock_, &info);
        return result(code, info);
    }

    Result<BufferState> bufferState(BufferId buffer) const {
        BufferState state;
        ABufferSyncStatus code = ABufferSyncGroup_getBufferState(group_, lock_, buffer, &state);
        return result(code, state);
    }

    /** The fences of earlier holders, for one buffer or for all (0); an empty UniqueFd if none is pending. */
    Result<UniqueFd> acquireFence(BufferId buffer = 0) const {
        int fence = -1;
        Status status = Status::of(ABufferSyncGroup_getAcquireFence(group_, lock_, buffer, &fence));
        return status.ok() ? Result<UniqueFd>(UniqueFd(fence)) : Result<UniqueFd>(std::move(status));
    }

    /** Waits for a lock that Group::startLock() or startGrow() has queued. */
    Status wait() { return Status::of(ABufferSyncGroup_wait(group_, lock_)); }

    /** Takes back what waits: the lock, or only its growth. */
    Status cancel() { return Status::of(ABufferSyncGroup_cancel(group_, lock_)); }

    Status grow(Some<Want> wants, std::chrono::nanoseconds timeout) {
        return Status::of(ABufferSyncGroup_grow(group_, lock_, wants.data(), wants.size(), timeout.count()));
    }

    Status tryGrow(Some<Want> wants) {
        return Status::of(ABufferSyncGroup_tryGrow(group_, lock_, wants.data(), wants.size()));
    }

    /** True if it is granted; false if it waits. */
    Result<bool> startGrow(Some<Want> wants, std::chrono::nanoseconds timeout) {
        bool granted = false;
        ABufferSyncStatus code = ABufferSyncGroup_startGrow(group_, lock_, wants.data(), wants.size(), timeout.count(),
                                                            &granted);
        return result(code, granted);
    }

    /** Makes exclusive accesses shared, when the writes are finished. */
    Status downgrade(Some<BufferId> buffers = {}) {
        return Status::of(ABufferSyncGroup_downgrade(group_, lock_, buffers.data(), buffers.size()));
    }

    /** Ends the lock. All work is finished, or ends when the fences signal: one UniqueFd for all buffers, or Fences. */
    Status unlock(Fences fences = {}) {
        auto given = fences.release();
        if (given.empty()) {
            return ended(ABufferSyncGroup_unlock(group_, lock_, -1));
        }
        return ended(ABufferSyncGroup_unlockBuffers(group_, lock_, nullptr, 0, given.data(), given.size()));
    }

    /**
     * Ends a part of the grant: these buffers. The grant goes on for the rest. To name none is INVALID_ARGUMENT:
     * unlock() ends all.
     */
    Status unlockBuffers(Some<BufferId> buffers, Fences fences = {}) {
        buffers = buffers.named();
        auto given = fences.release();
        return Status::of(ABufferSyncGroup_unlockBuffers(group_, lock_, buffers.data(), buffers.size(), given.data(),
                                                         given.size()));
    }

    /**
     * Ends this grant and locks buffers of the group, in one call of the service. This grant has ended in any case: if
     * the service refuses the call, it is unlocked with the fences. Otherwise the end of the scope would hand the
     * buffers on without them.
     */
    Result<Grant> unlockAndLock(Some<Want> wants, std::chrono::nanoseconds timeout, Fences fences = {}) {
        std::optional<Fences> kept = fences.copy();
        if (!kept) {
            (void)unlock(std::move(fences));
            return Status::error(ABUFFERSYNC_ERROR_NO_RESOURCES, "no free descriptor for a copy of a fence");
        }
        auto given = fences.release();
        LockId next = 0;
        Status status = Status::of(ABufferSyncGroup_unlockAndLock(group_, lock_, given.data(), given.size(),
                                                                  wants.data(), wants.size(), timeout.count(), &next));
        if (status.ok()) {
            lock_ = 0;
            return Grant(group_, next);
        }
        /* If it has ended already, this is harmless. */
        (void)unlock(std::move(*kept));
        return status;
    }

  private:
    template <typename T>
    static Result<T> result(ABufferSyncStatus code, const T& value) {
        Status status = Status::of(code);
        return status.ok() ? Result<T>(value) : Result<T>(std::move(status));
    }

    /** After an unlock: forgets the lock, unless it goes on. */
    Status ended(ABufferSyncStatus code) {
        switch (code) {
            case ABUFFERSYNC_ERROR_INVALID_ARGUMENT:
            case ABUFFERSYNC_ERROR_BAD_FD:
            case ABUFFERSYNC_ERROR_BAD_FENCE:
            case ABUFFERSYNC_ERROR_UNKNOWN_BUFFER:
            case ABUFFERSYNC_ERROR_BUSY:
            case ABUFFERSYNC_ERROR_EVENTS_UNREAD:
                break;
            default:
                lock_ = 0;
                break;
        }
        return Status::of(code);
    }

    void end() {
        LockId lock = release();
        if (lock != 0) {
            /* A destructor can't report an error. */
            (void)ABufferSyncGroup_unlock(group_, lock, -1);
        }
    }

    ABufferSyncGroup* group_ = nullptr;
    LockId lock_ = 0;
};

/** A lock that was asked for. */
struct Started {
    Grant lock;
    /** False: it waits. Grant::wait() waits for it, or an event tells how it ends. */
    bool granted;
};

/** A set of dma-bufs and their locks. Closes the group at the end: unlock first. */
class Group {
  public:
    /** No group: every call returns INVALID_ARGUMENT. */
    Group() = default;
    /** Takes over a group. */
    explicit Group(ABufferSyncGroup* group) : group_(group) {}
    Group(Group&& other) noexcept : group_(std::exchange(other.group_, nullptr)) {}
    Group& operator=(Group&& other) noexcept {
        if (this != &other) {
            close();
            group_ = std::exchange(other.group_, nullptr);
        }
        return *this;
    }
    ~Group() { close(); }

    explicit operator bool() const { return group_ != nullptr; }
    /** For functions of <android/buffer_sync.h>. */
    ABufferSyncGroup* get() const { return group_; }
    /** Ends the group now. */
    void close() { ABufferSyncGroup_close(std::exchange(group_, nullptr)); }

    /** Adds a dma-buf, whose memory stays until remove() or the end of the group. */
    Result<BufferId> addDmaBuf(int fd, Access access) {
        BufferId id = 0;
        ABufferSyncStatus code = ABufferSyncGroup_addDmaBuf(group_, fd, static_cast<ABufferSyncAccess>(access), &id);
        return result(code, id);
    }

    /** Adds the dma-bufs of a native handle; places that are -1 are skipped. */
    Result<std::vector<BufferId>> addNativeHandle(const int* fds, size_t count, Access access) {
        std::vector<BufferId> ids(count);
        size_t found = 0;
        Status status = Status::of(ABufferSyncGroup_addNativeHandle(
                group_, fds, count, static_cast<ABufferSyncAccess>(access), ids.data(), &found));
        return idsOrError(std::move(status), std::move(ids), found);
    }

    /** Adds the dma-bufs of an AHardwareBuffer. */
    Result<std::vector<BufferId>> addHardwareBuffer(const AHardwareBuffer* buffer, Access access) {
        /* No format has as many planes. */
        std::vector<BufferId> ids(kMostPlanes);
        size_t found = 0;
        Status status = Status::of(ABufferSyncGroup_addHardwareBuffer(
                group_, buffer, static_cast<ABufferSyncAccess>(access), ids.data(), ids.size(), &found));
        return idsOrError(std::move(status), std::move(ids), found);
    }

    Status remove(BufferId buffer) { return Status::of(ABufferSyncGroup_remove(group_, buffer)); }
    Status removeAll() { return Status::of(ABufferSyncGroup_removeAll(group_)); }

    /** Locks all buffers of the group, with the accesses of add. */
    Result<Grant> lock(std::chrono::nanoseconds timeout = kNoTimeout) { return lock({}, timeout); }

    /** Locks some buffers of the group, or all ({}). */
    Result<Grant> lock(Some<Want> wants, std::chrono::nanoseconds timeout) {
        LockId id = 0;
        ABufferSyncStatus code = ABufferSyncGroup_lock(group_, wants.data(), wants.size(), timeout.count(), &id);
        return granted(code, id);
    }

    /** WOULD_BLOCK if somebody holds one of the buffers. */
    Result<Grant> tryLock(Some<Want> wants = {}) {
        LockId id = 0;
        ABufferSyncStatus code = ABufferSyncGroup_tryLock(group_, wants.data(), wants.size(), &id);
        return granted(code, id);
    }

    /** Asks for a lock and returns at once. */
    Result<Started> startLock(Some<Want> wants, std::chrono::nanoseconds timeout) {
        LockId id = 0;
        bool granted = false;
        Status status = Status::of(ABufferSyncGroup_startLock(group_, wants.data(), wants.size(), timeout.count(), &id,
                                                              &granted));
        return status.ok() ? Result<Started>(Started{Grant(group_, id), granted}) : Result<Started>(std::move(status));
    }

    /** For epoll or ALooper_addFd(); the group keeps it. */
    Result<int> eventFd() const {
        int fd = -1;
        ABufferSyncStatus code = ABufferSyncGroup_getEventFd(group_, &fd);
        return result(code, fd);
    }

    /** The next event; nothing if there is none now. */
    Result<std::optional<Event>> nextEvent() {
        Event event;
        ABufferSyncStatus code = ABufferSyncGroup_getEvent(group_, &event);
        if (code == ABUFFERSYNC_ERROR_WOULD_BLOCK) {
            return std::optional<Event>();
        }
        return result(code, std::optional<Event>(event));
    }

    Result<std::chrono::nanoseconds> holdLimit() const {
        int64_t nanos = 0;
        ABufferSyncStatus code = ABufferSyncGroup_getHoldLimit(group_, &nanos);
        return result(code, std::chrono::nanoseconds(nanos));
    }

    /** The name of another group (Event::otherGroup); empty if it is closed, or if this process may not know it. */
    Result<std::string> groupName(int64_t number) const {
        char name[ABUFFERSYNC_MAX_NAME_BYTES] = "";
        ABufferSyncStatus code = ABufferSyncGroup_getGroupName(group_, number, name, sizeof(name));
        return result(code, std::string(name));
    }

    /** The locks that the service has for the group, the oldest first. */
    Result<std::vector<LockStatus>> locks() const {
        std::vector<LockStatus> locks(kUsualLocks);
        for (;;) {
            size_t count = 0;
            Status status = Status::of(ABufferSyncGroup_getLocks(group_, locks.data(), locks.size(), &count));
            if (!status.ok()) {
                return status;
            }
            bool all = count <= locks.size();
            locks.resize(count);
            if (all) {
                return locks;
            }
        }
    }

  private:
    /** A buffer has four planes at most, and a handle may have as many descriptors of metadata. */
    static constexpr size_t kMostPlanes = 16;
    /** A group seldom has more locks, so one call of the service is enough. */
    static constexpr size_t kUsualLocks = 16;

    template <typename T>
    static Result<T> result(ABufferSyncStatus code, const T& value) {
        Status status = Status::of(code);
        return status.ok() ? Result<T>(value) : Result<T>(std::move(status));
    }

    Result<Grant> granted(ABufferSyncStatus code, LockId id) {
        Status status = Status::of(code);
        return status.ok() ? Result<Grant>(Grant(group_, id)) : Result<Grant>(std::move(status));
    }

    static Result<std::vector<BufferId>> idsOrError(Status status, std::vector<BufferId> ids, size_t found) {
        if (!status.ok()) {
            return status;
        }
        if (found < ids.size()) {
            ids.resize(found);
        }
        return ids;
    }

    ABufferSyncGroup* group_ = nullptr;
};

/** Options of a group. */
struct Options {
    /** A grant is taken away after this time; 0 for the service's default. */
    std::chrono::nanoseconds holdLimit{0};
    /** Bits of ABufferSyncGroupFlags. */
    uint32_t flags = ABUFFERSYNC_GROUP_DEFAULT;
};

/** The connection to the service. It outlives the service: after SERVICE_DIED, open the groups again. */
class Connection {
  public:
    /** No connection: every call returns INVALID_ARGUMENT. */
    Connection() = default;
    /** Takes over a connection. */
    explicit Connection(ABufferSync* sync) : sync_(sync) {}
    Connection(Connection&& other) noexcept : sync_(std::exchange(other.sync_, nullptr)) {}
    Connection& operator=(Connection&& other) noexcept {
        if (this != &other) {
            ABufferSync_close(sync_);
            sync_ = std::exchange(other.sync_, nullptr);
        }
        return *this;
    }
    ~Connection() { ABufferSync_close(sync_); }

    static Result<Connection> open() {
        ABufferSync* sync = nullptr;
        ABufferSyncStatus code = ABufferSync_open(&sync);
        return opened(code, sync);
    }

    /** Another instance or binder device; null for the default. */
    static Result<Connection> openInstance(const char* device, const char* instance) {
        ABufferSync* sync = nullptr;
        ABufferSyncStatus code = ABufferSync_openInstance(device, instance, &sync);
        return opened(code, sync);
    }

    /** Waits until the service is there. */
    static Result<Connection> waitForService(std::chrono::nanoseconds timeout = kNoTimeout) {
        ABufferSync* sync = nullptr;
        ABufferSyncStatus code = ABufferSync_waitForService(timeout.count(), &sync);
        return opened(code, sync);
    }

    explicit operator bool() const { return sync_ != nullptr; }
    /** For functions of <android/buffer_sync.h>. */
    ABufferSync* get() const { return sync_; }

    Result<Group> openGroup(const std::string& name, Options options = {}) const {
        return openGroup(name.c_str(), options);
    }

    Result<Group> openGroup(const char* name, Options options = {}) const {
        ABufferSyncGroup* group = nullptr;
        Status status =
                Status::of(ABufferSync_openGroup(sync_, name, options.holdLimit.count(), options.flags, &group));
        return status.ok() ? Result<Group>(Group(group)) : Result<Group>(std::move(status));
    }

    Result<int64_t> capability(ABufferSyncCapability which) const {
        int64_t value = 0;
        Status status = Status::of(ABufferSync_getCapability(sync_, which, &value));
        return status.ok() ? Result<int64_t>(value) : Result<int64_t>(std::move(status));
    }

    Status dump(int fd) const { return Status::of(ABufferSync_dump(sync_, fd)); }

  private:
    static Result<Connection> opened(ABufferSyncStatus code, ABufferSync* sync) {
        Status status = Status::of(code);
        return status.ok() ? Result<Connection>(Connection(sync)) : Result<Connection>(std::move(status));
    }

    ABufferSync* sync_ = nullptr;
};

/**
 * The buffers of a group, or some of them, as a mutex for std::unique_lock, std::lock_guard and std::scoped_lock.
 *
 *     std::unique_lock lock(mutex, std::chrono::seconds(5));
 *     if (!lock) return mutex.status();
 *
 * It has two parts: a mutex between the threads that use this object, and a lock of the group. (Locks of one group
 * never wait for each other, so the threads need the first.)
 *
 * lock() can't report an error, and a mutex must be locked afterwards, or the unlock() of a std::lock_guard would
 * unlock what another thread has. So lock() always takes the mutex between the threads. If the group could not be
 * locked (a time-out, the service is gone), it remembers the Status, and owns() is false: then do not touch the
 * buffers. unlock() is right in both cases. try_lock() and try_lock_for() have a result: they take both parts or none.
 *
 * unlock() by a thread that has not locked does nothing. A thread that has locked must not call lock() again, as with
 * std::mutex. The Group must outlive this object.
 */
class Mutex {
  public:
    /**
     * @param wants the buffers; none: all buffers of the group.
     * @param timeout for lock() only.
     */
    explicit Mutex(Group& group, std::vector<Want> wants = {}, std::chrono::nanoseconds timeout = kNoTimeout)
        : group_(group), wants_(std::move(wants)), timeout_(timeout) {}

    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    /** Waits for the other threads, and then for the buffers. Ask owns() before you touch them. */
    void lock() {
        {
            std::unique_lock<std::mutex> state(state_);
            turn_.wait(state, [this] { return is_free(); });
            owner_ = std::this_thread::get_id();
        }
        (void)take(group_.lock(wants(), timeout_));
    }

    bool try_lock() {
        {
            std::lock_guard<std::mutex> state(state_);
            if (!is_free()) {
                return false;
            }
            owner_ = std::this_thread::get_id();
        }
        return take(group_.tryLock(wants())) || leave();
    }

    template <typename Rep, typename Period>
    bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
        /* So that the sum is a time. */
        using Clock = std::chrono::steady_clock;
        constexpr std::chrono::hours longest(24 * 365);
        return try_lock_until(Clock::now() + (timeout < longest ? std::chrono::duration_cast<Clock::duration>(timeout)
                                                                : Clock::duration(longest)));
    }

    template <typename Clock, typename Duration>
    bool try_lock_until(const std::chrono::time_point<Clock, Duration>& until) {
        {
            std::unique_lock<std::mutex> state(state_);
            if (!turn_.wait_until(state, until, [this] { return is_free(); })) {
                return false;
            }
            owner_ = std::this_thread::get_id();
        }
        auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(until - Clock::now());
        /* A negative time-out would be none. */
        bool over = left <= std::chrono::nanoseconds(0);
        return take(over ? group_.tryLock(wants()) : group_.lock(wants(), left)) || leave();
    }

    /** Ends the lock of the group if it was granted, and lets another thread lock. */
    void unlock() {
        if (!is_mine()) {
            return;
        }
        (void)finish();
        (void)leave();
    }

    /**
     * Ends the lock of the group, with a fence, and tells if it was held until now (EVICTED). The thread still has the
     * mutex, until unlock().
     */
    Status finish(UniqueFd fence = {}) {
        if (!owns()) {
            return {};
        }
        Status done = grant_.unlock(std::move(fence));
        std::lock_guard<std::mutex> state(state_);
        if (!done.ok()) {
            status_ = done;
        }
        return done;
    }

    /** This thread has locked, and the lock of the group was granted. */
    bool owns() const { return is_mine() && static_cast<bool>(grant_); }

    /** The lock of the group, for its fences and buffers. For the thread that has locked. */
    Grant& grant() { return grant_; }

    /** How the last lock or unlock of any thread has ended: of this thread, if it has locked. */
    Status status() const {
        std::lock_guard<std::mutex> state(state_);
        return status_;
    }

  private:
    bool is_free() const { return owner_ == std::thread::id(); }

    bool is_mine() const {
        std::lock_guard<std::mutex> state(state_);
        return owner_ == std::this_thread::get_id();
    }

    Some<Want> wants() const { return wants_.empty() ? Some<Want>() : Some<Want>(wants_); }

    /** Keeps the result of a lock. Only the owner touches grant_. */
    bool take(Result<Grant> result) {
        std::lock_guard<std::mutex> state(state_);
        status_ = result.status();
        if (result.ok()) {
            grant_ = std::move(*result);
        }
        return result.ok();
    }

    /** Lets another thread lock. Returns false. */
    bool leave() {
        {
            std::lock_guard<std::mutex> state(state_);
            owner_ = std::thread::id();
        }
        turn_.notify_one();
        return false;
    }

    Group& group_;
    const std::vector<Want> wants_;
    const std::chrono::nanoseconds timeout_;
    mutable std::mutex state_;
    std::condition_variable turn_;
    std::thread::id owner_;
    Grant grant_;
    Status status_;
};

}  // namespace android::buffersync

#endif /* ANDROID_BUFFER_SYNC_HPP */
