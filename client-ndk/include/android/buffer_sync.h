/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/**
 * @file buffer_sync.h
 * @brief Locks on dma-bufs that processes share. A lock decides who may use a buffer, and the
 * service does the cache maintenance between one holder and the next.
 *
 * A group is a set of dma-bufs, each with a declared access. ABufferSyncGroup_lock() locks all of them or
 * some of them. A group can have many locks at once, each named by its number. Locks that want the same
 * buffers are served by age, so no order of locking can deadlock. A grant ends when it is unlocked, or at
 * its deadline. At the deadline the holder is evicted, and the next holder is told that the content may be
 * half written.
 *
 *     ABufferSyncLock lock;
 *     ABufferSyncStatus status = ABufferSyncGroup_lock(group, NULL, 0, -1, &lock);
 *     if (status == ABUFFERSYNC_OK) {
 *         draw(pixels);
 *         status = ABufferSyncGroup_unlock(group, lock, -1);
 *     }
 *
 * C++ programs can use <android/buffer_sync.hpp>, which has objects for the handles and the locks.
 *
 * Results. Most functions return an ABufferSyncStatus, 0 for success, and write their out-parameters only
 * on success. A call that fails has changed nothing unless its comment says otherwise. Each comment lists
 * the errors of its function. Besides those, every function that returns a status may return
 * - ABUFFERSYNC_ERROR_INVALID_ARGUMENT for null where the parameter is _Nonnull, a handle too; for a value
 *   out of range; and for a field `reserved` that is not 0;
 * - ABUFFERSYNC_ERROR_INVALID_HANDLE for a handle that was closed, or was never opened. A thread that waits
 *   in a group gets it when another thread closes the group;
 * - ABUFFERSYNC_ERROR_FORKED in a child that was forked from the process that opened the connection
 *   (exec first);
 * - ABUFFERSYNC_ERROR_INTERNAL: binder failed, or the service broke its rules.
 * A function of a lock returns ABUFFERSYNC_ERROR_ENDED also for a number that no lock has had yet.
 *
 * Every function of a group that asks the service, or reads its events, may return
 * - ABUFFERSYNC_ERROR_SERVICE_DIED: the service is gone, and every group and lock with it. Close the group
 *   and open it anew, when ABufferSync_openGroup() does not return ABUFFERSYNC_ERROR_NO_SERVICE any more.
 *   The ABufferSync stays as it is and finds the service;
 * - ABUFFERSYNC_ERROR_NO_RESOURCES: the service or this process is short of descriptors or memory. If the
 *   answer of the service could not be delivered (mostly because this process has no free descriptor for an
 *   acquire fence), the message says so. A call that locks has locked nothing then; after a growth the grant
 *   goes on, with the buffers that it names; a call that ends a lock and locks has ended the old lock and
 *   locked nothing; an unlock of a whole lock has ended it. Other calls may or may not be done: close
 *   descriptors and call again.
 *
 * The text of ABufferSync_getLastErrorMessage() names the value that is wrong, the limit, and what to do.
 *
 * Handles are names, not addresses: a closed handle is refused, never followed.
 *
 * Threads. Every function may be called from any thread. Calls on one group take turns. Only the
 * functions that lock, grow or wait wait for other clients, and other threads can call on the group
 * meanwhile; those that unlock may wait for a fence, see ABufferSyncGroup_unlock(). A grant
 * belongs to the group, not to a thread: any thread may unlock it. No function may be called from a
 * signal handler. In an atexit handler, or in a destructor of a thread that is ending (a pthread key,
 * C++'s thread_local), a call that needs the service may return ABUFFERSYNC_ERROR_INTERNAL; a handle
 * that is closed there is released.
 *
 * A service that does not answer. A call of the service waits for the answer, without a time-out, like
 * every call of binder: if the service is stopped, the call lasts until it goes on. A lock that waits for
 * other clients is no call. Its time-out is kept by this library too: about one second after the time-out
 * it returns ABUFFERSYNC_ERROR_TIMED_OUT, with a message that the service does not answer. The service ends
 * that lock when it answers again.
 *
 * File descriptors. The caller keeps the descriptors that it passes in, unless the comment says
 * "takes": then the function closes them in any case, also after an error. The caller closes the
 * descriptors that it receives, unless the comment says "lends".
 *
 * Times are in nanoseconds. Points in time are readings of CLOCK_MONOTONIC. A time-out is the longest time
 * to wait; negative for none. The deadlines of other holders bound a wait in any case.
 *
 * Versions. Functions are marked with the version of libbuffersync that first has them, which is also the
 * version of their symbols (LIBBUFFERSYNC_1). The macros of the NDK (__INTRODUCED_IN) and of LL-NDK
 * (__INTRODUCED_IN_LLNDK) are not used. They compare with the release of the platform, and this library is
 * in the vendor image, which is updated apart from the platform. Code in that image always finds the version
 * it was built with. An app may find an older one: it looks up functions of later versions with dlsym().
 */

#ifndef ANDROID_BUFFER_SYNC_H
#define ANDROID_BUFFER_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_include)
#if __has_include(<sys/cdefs.h>)
#include <sys/cdefs.h>
#endif
#endif

/* Not every C library has these. */
#if !defined(__BEGIN_DECLS)
#if defined(__cplusplus)
#define __BEGIN_DECLS extern "C" {
#define __END_DECLS }
#else
#define __BEGIN_DECLS
#define __END_DECLS
#endif
#endif

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wnullability-extension"
#else
#if !defined(_Nonnull)
#define _Nonnull
#define ABUFFERSYNC_UNDEF_NONNULL
#endif
#if !defined(_Nullable)
#define _Nullable
#define ABUFFERSYNC_UNDEF_NULLABLE
#endif
#endif

/* An enum of 32 bits with every compiler. */
#if defined(__cplusplus)
#define ABUFFERSYNC_ENUM(name) enum name : int32_t
#else
#define ABUFFERSYNC_ENUM(name) \
    typedef int32_t name;      \
    enum
#endif

/** The version of libbuffersync that this header describes. */
#define ABUFFERSYNC_VERSION 1

/** Room for the name of a group: 64 bytes and a NUL. */
#define ABUFFERSYNC_MAX_NAME_BYTES 65

__BEGIN_DECLS

/** The same declaration as in <android/hardware_buffer.h>. */
typedef struct AHardwareBuffer AHardwareBuffer;

/** The connection to the service. */
typedef struct ABufferSync ABufferSync;

/** A set of dma-bufs, and its locks. */
typedef struct ABufferSyncGroup ABufferSyncGroup;

/**
 * The service's id of a dma-buf. The same buffer has the same id in every group and process, for as
 * long as any group has it. Ids are positive; some functions take 0 for all buffers of a grant.
 */
typedef int64_t ABufferSyncBufferId;

/**
 * The number of a lock, and of the grant that it becomes. Numbers are positive. A later lock of a group
 * has a greater number, and no number is used twice.
 */
typedef int64_t ABufferSyncLock;

/** The result of a call. */
ABUFFERSYNC_ENUM(ABufferSyncStatus) {
    /** Success. */
    ABUFFERSYNC_OK = 0,
    /** A null pointer, or a value out of range. */
    ABUFFERSYNC_ERROR_INVALID_ARGUMENT = -1,
    /** The handle was closed, or was never opened. */
    ABUFFERSYNC_ERROR_INVALID_HANDLE = -2,
    /** A descriptor is not open. */
    ABUFFERSYNC_ERROR_BAD_FD = -3,
    /** None of the descriptors is a dma-buf or a memfd. */
    ABUFFERSYNC_ERROR_NOT_DMABUF = -4,
    /** A release fence is not a sync_file. */
    ABUFFERSYNC_ERROR_BAD_FENCE = -5,
    /** The group, or the grant, has no buffer of that id. */
    ABUFFERSYNC_ERROR_UNKNOWN_BUFFER = -6,
    /** A buffer would be in the group, or in one lock, for the CPU and for DMA at once. */
    ABUFFERSYNC_ERROR_ACCESS_CONFLICT = -7,
    /** A quota of this uid or a limit of the group is reached. */
    ABUFFERSYNC_ERROR_QUOTA = -8,
    /** The service or this process is short of descriptors or memory. */
    ABUFFERSYNC_ERROR_NO_RESOURCES = -9,
    /** The group has no buffers. */
    ABUFFERSYNC_ERROR_EMPTY_GROUP = -10,
    /** The lock waits or grows, or a lock of the group has the buffer. */
    ABUFFERSYNC_ERROR_BUSY = -11,
    /** A lock of this group already has the buffers, or waits for them. */
    ABUFFERSYNC_ERROR_ALREADY_LOCKED = -12,
    /** Somebody holds one of the buffers or waits for it; or there is no event now. */
    ABUFFERSYNC_ERROR_WOULD_BLOCK = -14,
    /** The lock does not wait: it is granted or has ended. */
    ABUFFERSYNC_ERROR_NOT_QUEUED = -15,
    /**
     * The lock was not granted in time. If it would grow a grant, that goes on as it was.
     * ABufferSync_getLastErrorLock() names a lock that is in the way.
     */
    ABUFFERSYNC_ERROR_TIMED_OUT = -16,
    /** Another thread took the lock back. */
    ABUFFERSYNC_ERROR_CANCELLED = -17,
    /**
     * An older lock waits for a buffer that this grant has, so waiting for more could deadlock (the
     * kernel's EDEADLK): unlock, and lock again. The new lock keeps the old place in line for
     * ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS from the first request. After that time, a growth that
     * would pass another lock that already waits for a buffer also ends with this error.
     */
    ABUFFERSYNC_ERROR_DEADLOCK = -18,
    /**
     * The grant was taken away at its deadline: what was read since may be torn, and what was written may be
     * lost. ABufferSync_getLastErrorLock() names a lock that was waiting.
     */
    ABUFFERSYNC_ERROR_EVICTED = -19,
    /**
     * An implicit fence of a buffer did not signal in time, or its cache maintenance failed:
     * ABufferSync_getLastErrorMessage() says which. If it would grow a grant, that goes on as it was.
     */
    ABUFFERSYNC_ERROR_LOCK_FAILED = -20,
    /** Too many unread events: call ABufferSyncGroup_getEvent() until there are none. */
    ABUFFERSYNC_ERROR_EVENTS_UNREAD = -21,
    /** The service, its kernel or this platform can't do that. */
    ABUFFERSYNC_ERROR_UNSUPPORTED = -22,
    /** The binder driver can't be opened. */
    ABUFFERSYNC_ERROR_NO_BINDER = -23,
    /** The service is not registered, or this process may not find it. */
    ABUFFERSYNC_ERROR_NO_SERVICE = -24,
    /** The service is gone, and every group and lock with it: open the group again. */
    ABUFFERSYNC_ERROR_SERVICE_DIED = -25,
    /** This process is a fork of the one that opened the connection. */
    ABUFFERSYNC_ERROR_FORKED = -26,
    /** Binder failed, or the service broke its rules. */
    ABUFFERSYNC_ERROR_INTERNAL = -27,
    /** The service knows no lock of that number, and this library does: one of them broke its rules. */
    ABUFFERSYNC_ERROR_BAD_LOCK = -28,
    /** The lock has ended: it was unlocked or cancelled, or it ended without a grant. Or there never was one. */
    ABUFFERSYNC_ERROR_ENDED = -29,
};

/**
 * How a group uses a buffer: by the CPU or by a device, to read or to write. Readers share a buffer, a
 * writer excludes everybody else. Declare what really happens: the service derives the cache
 * maintenance before a grant from it.
 */
ABUFFERSYNC_ENUM(ABufferSyncAccess) {
    /** The CPU reads. */
    ABUFFERSYNC_ACCESS_READ = 0x1,
    /** The CPU reads or writes. */
    ABUFFERSYNC_ACCESS_WRITE = 0x2,
    /** A device reads. */
    ABUFFERSYNC_ACCESS_DMA_READ = 0x5,
    /** A device reads or writes. */
    ABUFFERSYNC_ACCESS_DMA_WRITE = 0x6,
};

/** Options of a group. */
ABUFFERSYNC_ENUM(ABufferSyncGroupFlags) {
    /** None. */
    ABUFFERSYNC_GROUP_DEFAULT = 0x0,
    /**
     * For DMA accesses, acquire fences include the implicit fences of the dma-bufs, and release fences
     * are attached to the dma-bufs. Needs ABUFFERSYNC_CAPABILITY_IMPLICIT_FENCES.
     */
    ABUFFERSYNC_GROUP_IMPLICIT_FENCES = 0x1,
    /**
     * The hold limit counts from the moment at which the first lock has to wait for the grant, or the grant
     * waits for more itself. Until then the grant has no deadline: a paused display can keep what nobody else
     * wants. Without this flag the limit counts from the grant.
     */
    ABUFFERSYNC_GROUP_HOLD_FROM_CONFLICT = 0x2,
};

/** Arguments of ABufferSync_getCapability(). */
ABUFFERSYNC_ENUM(ABufferSyncCapability) {
    /** 1 if grants come with acquire fences and can be ended with release fences, else 0. */
    ABUFFERSYNC_CAPABILITY_RELEASE_FENCES = 0,
    /** 1 if ABUFFERSYNC_GROUP_IMPLICIT_FENCES works, else 0. */
    ABUFFERSYNC_CAPABILITY_IMPLICIT_FENCES = 1,
    /** The hold limit of a group that asks for none, in nanoseconds. */
    ABUFFERSYNC_CAPABILITY_DEFAULT_HOLD_NANOS = 2,
    /** The longest hold limit that a group can have, in nanoseconds. */
    ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS = 3,
    /** The number of groups that one uid may have open. */
    ABUFFERSYNC_CAPABILITY_MAX_GROUPS_PER_UID = 4,
    /** The number of buffers that one group may have. */
    ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_GROUP = 5,
    /** The number of buffers that all groups of one uid may have together. */
    ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_UID = 6,
    /** The number of locks of one uid that may wait. */
    ABUFFERSYNC_CAPABILITY_MAX_QUEUED_PER_UID = 7,
    /** The number of release fences of one uid that may be pending. */
    ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_UID = 8,
    /** The number of release fences of one group that may be pending. */
    ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_GROUP = 9,
    /** The number of descriptors that one native handle may have. */
    ABUFFERSYNC_CAPABILITY_MAX_FDS_PER_HANDLE = 10,
    /** The number of locks that one group may have at once, waiting or granted. */
    ABUFFERSYNC_CAPABILITY_MAX_LOCKS_PER_GROUP = 11,
};

/** Types of events. */
ABUFFERSYNC_ENUM(ABufferSyncEventType) {
    /** A queued lock is granted. */
    ABUFFERSYNC_EVENT_GRANTED = 1,
    /**
     * A queued lock ended: an implicit fence of .buffer did not signal in time (.error is ETIMEDOUT),
     * or cache maintenance of .buffer failed with .error, another errno. If it would grow a grant, that
     * goes on as it was.
     */
    ABUFFERSYNC_EVENT_LOCK_FAILED = 2,
    /** The growth of a grant ended, see ABUFFERSYNC_ERROR_DEADLOCK: unlock, and lock again. */
    ABUFFERSYNC_EVENT_WOUNDED = 3,
    /**
     * A queued lock was not granted before its time-out. If it would grow a grant, that goes on. .otherGroup
     * and .otherLock: a lock that is in the way.
     */
    ABUFFERSYNC_EVENT_TIMED_OUT = 4,
    /** A grant was taken away at its deadline. .otherGroup and .otherLock: a lock that was waiting. */
    ABUFFERSYNC_EVENT_EVICTED = 5,
    /**
     * The release fence of an earlier unlock failed, or did not signal in time. If a part of a grant was
     * unlocked with it, the grant goes on with the rest.
     */
    ABUFFERSYNC_EVENT_FENCE_EVICTED = 6,
    /**
     * Somebody has to wait for a buffer of the grant, which goes on until .deadlineNanos. A holder that
     * is done early lets the others go on early.
     */
    ABUFFERSYNC_EVENT_CONTENDED = 7,
};

/** An event of a group. */
typedef struct ABufferSyncEvent {
    ABufferSyncEventType type;
    /** LOCK_FAILED: the errno. Otherwise 0. */
    int32_t error;
    /** The number of the lock, and of the grant that it became. */
    ABufferSyncLock lock;
    /** LOCK_FAILED: the buffer. Otherwise 0. */
    ABufferSyncBufferId buffer;
    /** GRANTED, CONTENDED: at this time the grant is taken away; 0 if it has no deadline yet. Otherwise 0. */
    int64_t deadlineNanos;
    /**
     * TIMED_OUT, EVICTED: the number of the group of another lock, for ABufferSyncGroup_getGroupName(). 0 if
     * there is none. Otherwise 0.
     */
    int64_t otherGroup;
    /** The number of that lock in its group. */
    ABufferSyncLock otherLock;
    /** Always 0. */
    uint64_t reserved[2];
} ABufferSyncEvent;

/** The grant of a lock. */
typedef struct ABufferSyncGrant {
    /** The number of the lock. */
    ABufferSyncLock lock;
    /** At this time the grant is taken away; 0 if it has no deadline yet (ABUFFERSYNC_GROUP_HOLD_FROM_CONFLICT). */
    int64_t deadlineNanos;
    /** The number of buffers in the grant. */
    uint32_t numBuffers;
    /** Always 0. */
    uint32_t reserved[3];
} ABufferSyncGrant;

/** Bits of ABufferSyncBufferState.flags. */
ABUFFERSYNC_ENUM(ABufferSyncBufferFlags) {
    /**
     * A former holder was evicted or died, and may still work on the buffer. The mark is cleared when
     * a later grant, a reader's too, has ended in order and its fences have signalled.
     */
    ABUFFERSYNC_BUFFER_EVICTED = 0x1,
    /** Other devices may still work on it: wait for the acquire fence. Only for DMA accesses. */
    ABUFFERSYNC_BUFFER_FENCED = 0x2,
    /**
     * The content may be half written: a writer was evicted or died. The mark is cleared when a later
     * exclusive grant has ended in order and its fences have signalled. A reader should drop the
     * content, a writer should overwrite all of it.
     */
    ABUFFERSYNC_BUFFER_TORN = 0x8,
};

/** One buffer of a grant. */
typedef struct ABufferSyncBufferState {
    ABufferSyncBufferId buffer;
    /**
     * How often the buffer was granted exclusively so far, this grant included if it is exclusive; 0: never. Two
     * grants of the same generation, neither of them ABUFFERSYNC_BUFFER_EVICTED, see the same content.
     */
    int64_t generation;
    /** Bits of ABufferSyncBufferFlags. */
    uint32_t flags;
    /** Always 0. */
    uint32_t reserved;
} ABufferSyncBufferState;

/** A release fence of one buffer or of several. */
typedef struct ABufferSyncFence {
    /** The buffer; 0: all buffers that have no fence of their own. */
    ABufferSyncBufferId buffer;
    /** A sync_file; -1: none, as if this element were not there. */
    int fd;
    /** Must be 0. */
    uint32_t reserved;
} ABufferSyncFence;

/** A buffer that a lock asks for. */
typedef struct ABufferSyncWant {
    /** A buffer of the group. */
    ABufferSyncBufferId buffer;
    /** How this lock uses it. It need not be the access with which the buffer was added. */
    ABufferSyncAccess access;
    /** Must be 0. */
    uint32_t reserved;
} ABufferSyncWant;

/** A lock of a group. */
typedef struct ABufferSyncLockStatus {
    ABufferSyncLock lock;
    /** At this time its grant is taken away; 0 if it has no grant, or the grant has no deadline yet. */
    int64_t deadlineNanos;
    /** The number of buffers in its grant; 0 if it has none. */
    uint32_t numBuffers;
    /** It waits: for its grant or, if it has one, for more. */
    bool waiting;
    /** Always 0. */
    uint8_t reserved[11];
} ABufferSyncLockStatus;

/** Another lock, which was in the way of a call or waited for its grant. */
typedef struct ABufferSyncLockInTheWay {
    /** The service's number of its group, as in dumps. */
    int64_t group;
    /** The number of the lock in that group. */
    ABufferSyncLock lock;
    /**
     * The name of that group; null if the group is closed, or if this process may not know it: it may know
     * the groups of its own uid, and root and the system may know all. Lent like the texts of
     * ABufferSync_getLastErrorMessage().
     */
    const char* _Nullable owner;
    /** Always 0. */
    uint64_t reserved;
} ABufferSyncLockInTheWay;

/**
 * Describes a status. Returns a constant string, never null. ABufferSync_getLastErrorMessage() says more, and may say
 * it in the same words: print one of both.
 *
 * Available since version 1 of libbuffersync.
 */
const char* _Nonnull ABufferSyncStatus_toString(ABufferSyncStatus status);

/**
 * Describes the last failed call of this thread in more detail than its status, for logs. Empty if no call has failed
 * yet; a call that succeeds changes nothing.
 *
 * Lends the string. The pointer can be read until the thread ends. The text stays until eight later calls of the thread
 * have failed: then its place has the text of the eighth. So several messages can be in one printf().
 *
 * Available since version 1 of libbuffersync.
 */
const char* _Nonnull ABufferSync_getLastErrorMessage(void);

/**
 * Tells which lock was in the way of the last failed call of this thread. After ABUFFERSYNC_ERROR_TIMED_OUT: a lock
 * that holds one of the buffers, waits for it and is older, or has ended with a fence that is pending. After ABUFFERSYNC_ERROR_EVICTED: a lock that was waiting
 * for one of the buffers.
 *
 * @return false if the last failed call had another error, or if no lock is known: then it waited for implicit fences or cache
 *         maintenance only, or the service did not answer, or nobody was waiting.
 *
 * Available since version 1 of libbuffersync.
 */
bool ABufferSync_getLastErrorLock(ABufferSyncLockInTheWay* _Nonnull outLock);

/**
 * Connects to the default instance of the service. Does not wait for the service to start. A process
 * has one connection, and all handles share it.
 *
 * @return ABUFFERSYNC_ERROR_NO_BINDER, ABUFFERSYNC_ERROR_NO_SERVICE.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSync_open(ABufferSync* _Nullable* _Nonnull outSync);

/**
 * Like ABufferSync_open(), for another instance or another binder device. A process keeps the first
 * device that it opens; later ones are ignored.
 *
 * @param device null for the default, "/dev/binder".
 * @param instance null for the default, "vendor.buffersync.IBufferSync/default".
 * @return the errors of ABufferSync_open().
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSync_openInstance(const char* _Nullable device,
                                           const char* _Nullable instance,
                                           ABufferSync* _Nullable* _Nonnull outSync);

/**
 * Like ABufferSync_open(), but waits until the service is there.
 *
 * @param timeoutNanos the longest time to wait; negative for no time-out.
 * @return ABUFFERSYNC_ERROR_NO_SERVICE if it is not there in time; ABUFFERSYNC_ERROR_NO_BINDER at once.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSync_waitForService(int64_t timeoutNanos,
                                             ABufferSync* _Nullable* _Nonnull outSync);

/**
 * Closes a handle. Groups that were opened with it stay open. Does nothing for null, for a handle that is closed, and
 * in a forked child.
 *
 * Available since version 1 of libbuffersync.
 */
void ABufferSync_close(ABufferSync* _Nullable sync);

/**
 * Tells what the service can do, and its limits. The values are constant while the service runs.
 *
 * @return ABUFFERSYNC_ERROR_NO_SERVICE while the service is gone; ABUFFERSYNC_ERROR_SERVICE_DIED if it dies during the
 *         call.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSync_getCapability(const ABufferSync* _Nonnull sync,
                                            ABufferSyncCapability capability,
                                            int64_t* _Nonnull outValue);

/**
 * The service writes its dump (buffers, holders, waiters, counters) to a descriptor. Blocks while the
 * descriptor accepts no data.
 *
 * @return ABUFFERSYNC_ERROR_BAD_FD; ABUFFERSYNC_ERROR_NO_RESOURCES if this process has no free descriptor; and the
 *         errors of ABufferSync_getCapability().
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSync_dump(const ABufferSync* _Nonnull sync, int fd);

/**
 * Opens a group. It has no buffers yet.
 *
 * @param name for dumps and logs: 1 to 64 bytes of UTF-8 without control characters.
 * @param holdLimitNanos a grant of the group is taken away after this time; 0 for the service's
 *        default. Rounded up to milliseconds. One above ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS is shortened to that:
 *        ABufferSyncGroup_getHoldLimit() has the result.
 * @param flags bits of ABufferSyncGroupFlags.
 * @return ABUFFERSYNC_ERROR_INVALID_ARGUMENT for a bad name, a bad limit or unknown flags;
 *         ABUFFERSYNC_ERROR_UNSUPPORTED; ABUFFERSYNC_ERROR_QUOTA; ABUFFERSYNC_ERROR_NO_RESOURCES;
 *         ABUFFERSYNC_ERROR_NO_SERVICE while the service is gone: try again, or wait with
 *         ABufferSync_waitForService(); ABUFFERSYNC_ERROR_SERVICE_DIED if it dies during the call.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSync_openGroup(const ABufferSync* _Nonnull sync,
                                        const char* _Nonnull name, int64_t holdLimitNanos,
                                        uint32_t flags,
                                        ABufferSyncGroup* _Nullable* _Nonnull outGroup);

/**
 * Closes a group and its handle. Waiting locks are cancelled, and the threads that wait get
 * ABUFFERSYNC_ERROR_INVALID_HANDLE. Unlock first: a grant that is still held ends as an eviction,
 * because nobody said that the work was finished. Does nothing for null, for a handle that is closed, and in a forked
 * child.
 *
 * Available since version 1 of libbuffersync.
 */
void ABufferSyncGroup_close(ABufferSyncGroup* _Nullable group);

/**
 * Tells the hold limit of the group: its grants are taken away after this time. Does not ask the service.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_getHoldLimit(const ABufferSyncGroup* _Nonnull group,
                                                int64_t* _Nonnull outNanos);

/**
 * Tells the name of another group by its number: ABufferSyncEvent.otherGroup, or a number of the dump.
 *
 * @param outName room for maxBytes bytes. Receives the name; empty if no such group is open, or if this process may not
 *        know it (see ABufferSyncLockInTheWay.owner).
 * @param maxBytes at least ABUFFERSYNC_MAX_NAME_BYTES.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_getGroupName(const ABufferSyncGroup* _Nonnull group,
                                                int64_t number, char* _Nonnull outName,
                                                size_t maxBytes);

/**
 * Adds one dma-buf, or a memfd (memfd_create(2)): it is locked in the same way, and needs no cache
 * maintenance. If the group has the buffer already, the stronger of both accesses applies.
 *
 * You may close the descriptor afterwards: the service has one of its own. So the memory of the buffer stays until
 * ABufferSyncGroup_remove() or ABufferSyncGroup_close(), also if every process has closed it. A stream that changes its
 * buffers removes the old ones.
 *
 * The locks that the group has stay as they are. Later locks can have the buffer, and ABufferSyncGroup_grow() adds it
 * to a grant.
 *
 * @param access how the group uses the buffer if a lock does not say otherwise. For ABUFFERSYNC_ACCESS_WRITE the
 *        descriptor must be open for reading and writing: one that is open for reading only can't be mapped for
 *        writing. Other accesses need no mode. The mode is not checked again by locks that want another access.
 * @param outBuffer may be null.
 * @return ABUFFERSYNC_ERROR_BAD_FD; ABUFFERSYNC_ERROR_NOT_DMABUF; ABUFFERSYNC_ERROR_QUOTA;
 *         ABUFFERSYNC_ERROR_ACCESS_CONFLICT; ABUFFERSYNC_ERROR_INVALID_ARGUMENT also for
 *         ABUFFERSYNC_ACCESS_WRITE with a descriptor that is open for reading only. If the answer of
 *         the service was lost (ABUFFERSYNC_ERROR_NO_RESOURCES), the group may have the buffer: add it again to
 *         learn its id.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_addDmaBuf(ABufferSyncGroup* _Nonnull group, int dmaBufFd,
                                             ABufferSyncAccess access,
                                             ABufferSyncBufferId* _Nullable outBuffer);

/**
 * Adds the dma-bufs among the descriptors of a native handle. Other descriptors are skipped: a gralloc
 * handle carries metadata memory too. In a handle without a dma-buf, the memfds are the buffers. Several descriptors of
 * one buffer are one buffer.
 *
 * @param fds native_handle_t.data, or an array of your own. -1 is a place that is not used, and is skipped: a frame with
 *        one plane may be {fd, -1, -1, -1}. Other negative values are refused.
 * @param numFds native_handle_t.numFds: 1 to ABUFFERSYNC_CAPABILITY_MAX_FDS_PER_HANDLE, without those that are -1.
 * @param access as for ABufferSyncGroup_addDmaBuf(). What is skipped may be open for reading only.
 * @param outBuffers null, or room for numFds ids. Receives the ids of the buffers, in the order of
 *        their first descriptor.
 * @param outNumBuffers null, or receives the number of ids.
 * @return the errors of ABufferSyncGroup_addDmaBuf(); ABUFFERSYNC_ERROR_INVALID_ARGUMENT also if all descriptors are -1,
 *         or if there are too many.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_addNativeHandle(ABufferSyncGroup* _Nonnull group,
                                                   const int* _Nonnull fds, size_t numFds,
                                                   ABufferSyncAccess access,
                                                   ABufferSyncBufferId* _Nullable outBuffers,
                                                   size_t* _Nullable outNumBuffers);

/**
 * Adds the dma-bufs of an AHardwareBuffer. The AHardwareBuffer may be released after the call: the memory stays until
 * the buffers are removed.
 *
 * @param outBuffers null, or room for maxBuffers ids. Receives the ids of the first maxBuffers
 *        dma-bufs.
 * @param outNumBuffers null, or receives the number of dma-bufs that were added.
 * @return ABUFFERSYNC_ERROR_UNSUPPORTED where libnativewindow has no
 *         AHardwareBuffer_getNativeHandle: on Linux, and in an Android app that loads this library from
 *         its own package; and the errors of ABufferSyncGroup_addDmaBuf().
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_addHardwareBuffer(ABufferSyncGroup* _Nonnull group,
                                                     const AHardwareBuffer* _Nonnull buffer,
                                                     ABufferSyncAccess access,
                                                     ABufferSyncBufferId* _Nullable outBuffers,
                                                     size_t maxBuffers,
                                                     size_t* _Nullable outNumBuffers);

/**
 * Removes one buffer from the group. No lock of the group may have it or wait for it. The service closes its
 * descriptor if no other group has the buffer.
 *
 * @return ABUFFERSYNC_ERROR_UNKNOWN_BUFFER, ABUFFERSYNC_ERROR_BUSY. If the answer of the service was lost, the buffer
 *         may be gone: remove it again.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_remove(ABufferSyncGroup* _Nonnull group,
                                          ABufferSyncBufferId buffer);

/**
 * Removes all buffers from the group.
 *
 * @return ABUFFERSYNC_ERROR_BUSY if a lock of the group has a buffer or waits for it.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_removeAll(ABufferSyncGroup* _Nonnull group);

/**
 * Locks some buffers of the group, or all, all or nothing. Blocks the calling thread until the lock is granted or
 * has ended. The group can have other locks meanwhile, of other buffers or with shared accesses; other
 * threads can wait for them. The lock lasts until ABufferSyncGroup_unlock(), or until its deadline.
 *
 * A conflict with another lock of this group is an error at once: a lock never waits for its own group.
 *
 * @param wants the buffers and their accesses; null for all buffers of the group, with the accesses with
 *        which they were added.
 * @param numWants the number of wants; 0 for null. An array without elements is refused, so that it does not lock all.
 * @param timeoutNanos the longest time to wait; negative for no time-out.
 * @param outLock receives the number of the lock.
 * @return ABUFFERSYNC_ERROR_TIMED_OUT; ABUFFERSYNC_ERROR_CANCELLED by another thread;
 *         ABUFFERSYNC_ERROR_ALREADY_LOCKED if another lock of this group has one of the buffers with a
 *         conflicting access, or waits for it; ABUFFERSYNC_ERROR_UNKNOWN_BUFFER;
 *         ABUFFERSYNC_ERROR_ACCESS_CONFLICT if a buffer is named for the CPU and for a device;
 *         ABUFFERSYNC_ERROR_LOCK_FAILED; ABUFFERSYNC_ERROR_EMPTY_GROUP; ABUFFERSYNC_ERROR_QUOTA;
 *         ABUFFERSYNC_ERROR_EVENTS_UNREAD. After any error nothing is locked.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_lock(ABufferSyncGroup* _Nonnull group,
                                        const ABufferSyncWant* _Nullable wants, size_t numWants,
                                        int64_t timeoutNanos, ABufferSyncLock* _Nonnull outLock);

/**
 * Like ABufferSyncGroup_lock(), but waits for cache maintenance only, not for other clients or fences.
 *
 * @return ABUFFERSYNC_ERROR_WOULD_BLOCK if somebody holds one of the buffers or waits for it;
 *         ABUFFERSYNC_ERROR_LOCK_FAILED also if an implicit fence is pending; and the errors of
 *         ABufferSyncGroup_lock() except ABUFFERSYNC_ERROR_TIMED_OUT.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_tryLock(ABufferSyncGroup* _Nonnull group,
                                           const ABufferSyncWant* _Nullable wants,
                                           size_t numWants, ABufferSyncLock* _Nonnull outLock);

/**
 * Asks for a lock and returns at once. If the lock is not granted at once, it has its place in line now. Then
 * ABufferSyncGroup_wait() waits for it, or one event follows: ABUFFERSYNC_EVENT_GRANTED, _LOCK_FAILED or _TIMED_OUT.
 *
 * @param outLock receives the number of the lock. Its events have this number.
 * @param outGranted true: the lock has all its buffers, and no event follows.
 * @return the errors of ABufferSyncGroup_lock() except ABUFFERSYNC_ERROR_TIMED_OUT and ABUFFERSYNC_ERROR_CANCELLED.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_startLock(ABufferSyncGroup* _Nonnull group,
                                             const ABufferSyncWant* _Nullable wants,
                                             size_t numWants, int64_t timeoutNanos,
                                             ABufferSyncLock* _Nonnull outLock,
                                             bool* _Nonnull outGranted);

/**
 * Waits for a lock that ABufferSyncGroup_startLock() or ABufferSyncGroup_startGrow() has queued, until it is granted
 * or has ended. Its time-out counts from the start. Returns at once if it is granted.
 *
 * @return how it ended, also if its event was read; ABUFFERSYNC_ERROR_ENDED if it was unlocked or cancelled, or ended
 *         before the last 32 that did; ABUFFERSYNC_ERROR_BUSY if another thread waits
 *         for it; after a growth ABUFFERSYNC_ERROR_DEADLOCK and ABUFFERSYNC_ERROR_EVICTED; ABUFFERSYNC_ERROR_TIMED_OUT,
 *         ABUFFERSYNC_ERROR_CANCELLED, ABUFFERSYNC_ERROR_LOCK_FAILED: the lock has ended, or only its growth.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_wait(ABufferSyncGroup* _Nonnull group, ABufferSyncLock lock);

/**
 * Adds buffers, or stronger accesses, to a grant. Blocks like ABufferSyncGroup_lock(). The deadline
 * stays the same, and the grant keeps what it has even if this call fails.
 *
 * @param wants as for ABufferSyncGroup_lock(); null: what the group has and the grant lacks. What the grant has already
 *        may be named.
 * @return ABUFFERSYNC_ERROR_DEADLOCK; ABUFFERSYNC_ERROR_EVICTED; ABUFFERSYNC_ERROR_ENDED;
 *         ABUFFERSYNC_ERROR_BUSY if the lock waits; ABUFFERSYNC_ERROR_ALREADY_LOCKED if it has all of
 *         this; and the errors of ABufferSyncGroup_lock().
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_grow(ABufferSyncGroup* _Nonnull group, ABufferSyncLock lock,
                                        const ABufferSyncWant* _Nullable wants, size_t numWants,
                                        int64_t timeoutNanos);

/**
 * Like ABufferSyncGroup_grow(), but does not wait for other clients or fences.
 *
 * @return ABUFFERSYNC_ERROR_WOULD_BLOCK, and the errors of ABufferSyncGroup_grow() except ABUFFERSYNC_ERROR_TIMED_OUT.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_tryGrow(ABufferSyncGroup* _Nonnull group, ABufferSyncLock lock,
                                           const ABufferSyncWant* _Nullable wants,
                                           size_t numWants);

/**
 * Like ABufferSyncGroup_grow(), but returns at once. If it has to wait, ABufferSyncGroup_wait() waits for it, or one
 * event follows: ABUFFERSYNC_EVENT_GRANTED, _LOCK_FAILED, _TIMED_OUT, _WOUNDED or _EVICTED.
 *
 * @param outGranted true: the grant has all that it asked for, and no event follows.
 * @return the errors of ABufferSyncGroup_grow() except ABUFFERSYNC_ERROR_TIMED_OUT and ABUFFERSYNC_ERROR_CANCELLED.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_startGrow(ABufferSyncGroup* _Nonnull group, ABufferSyncLock lock,
                                             const ABufferSyncWant* _Nullable wants,
                                             size_t numWants, int64_t timeoutNanos,
                                             bool* _Nonnull outGranted);

/**
 * Takes back what waits, also if another thread waits for it: a lock ends, or a growth ends and its grant
 * goes on as it was. No event of it follows.
 *
 * @return ABUFFERSYNC_ERROR_NOT_QUEUED if the lock does not wait; it may have been granted meanwhile.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_cancel(ABufferSyncGroup* _Nonnull group, ABufferSyncLock lock);

/**
 * Lends the group's event descriptor, for epoll(7) or ALooper_addFd(). It is readable when there is an
 * event that no function has read, and hung up when the service is gone. It may be readable without an
 * event; then ABufferSyncGroup_getEvent() returns ABUFFERSYNC_ERROR_WOULD_BLOCK. It is valid until the group is closed.
 * Do not read, write or close it.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_getEventFd(const ABufferSyncGroup* _Nonnull group,
                                              int* _Nonnull outFd);

/**
 * Gets the next event. Never blocks. While a thread waits for a lock, that thread consumes the events.
 * Other functions may read events too, even if they do not wait: those that lock, unlock or cancel, and
 * those that read the pending events first. They keep the events of other locks for this function: call it
 * until there is no event, before you poll.
 *
 * @return ABUFFERSYNC_ERROR_WOULD_BLOCK if there is no event now. ABUFFERSYNC_ERROR_SERVICE_DIED when the service is
 *         gone and all its events were returned.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_getEvent(ABufferSyncGroup* _Nonnull group,
                                            ABufferSyncEvent* _Nonnull outEvent);

/**
 * Describes the grant of a lock. Reads the pending events first, so it knows of an eviction at once. Does not ask the
 * service.
 *
 * @return ABUFFERSYNC_ERROR_BUSY if the lock waits for its grant; ABUFFERSYNC_ERROR_EVICTED if the grant
 *         was taken away: call ABufferSyncGroup_unlock() to acknowledge it; ABUFFERSYNC_ERROR_ENDED.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_getGrant(const ABufferSyncGroup* _Nonnull group,
                                            ABufferSyncLock lock,
                                            ABufferSyncGrant* _Nonnull outGrant);

/**
 * Describes a buffer of the grant of a lock, as it was when it was granted. Does not ask the service.
 *
 * @return ABUFFERSYNC_ERROR_UNKNOWN_BUFFER, and the errors of ABufferSyncGroup_getGrant().
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_getBufferState(const ABufferSyncGroup* _Nonnull group,
                                                  ABufferSyncLock lock,
                                                  ABufferSyncBufferId buffer,
                                                  ABufferSyncBufferState* _Nonnull outState);

/**
 * Gets the release fences of earlier holders, merged into one fence. Devices of the holder must
 * wait for it before they begin.
 *
 * @param buffer a buffer of the grant; 0 for all of them.
 * @param outFence a sync_file, or -1 if no fence is pending. If it signals an error, the content of the
 *        buffers is wrong.
 * @return ABUFFERSYNC_ERROR_UNKNOWN_BUFFER, and the errors of ABufferSyncGroup_getGrant().
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_getAcquireFence(const ABufferSyncGroup* _Nonnull group,
                                                   ABufferSyncLock lock,
                                                   ABufferSyncBufferId buffer,
                                                   int* _Nonnull outFence);

/**
 * Ends a lock, whatever it is: a grant, a growth with its grant, or a lock that waits.
 *
 * A release fence says that the work ends when the fence signals. A device that is next gets the
 * buffers at once and waits for the fence itself; the CPU gets them when the fence has signalled. A
 * fence that fails, or has not signalled when the hold limit has passed from now, counts as an
 * eviction. If the service can't take the fence (a quota), this call waits for the fence, until the
 * deadline, and then unlocks.
 *
 * @param releaseFence a sync_file, which the function takes; -1 if the work is finished.
 * @return ABUFFERSYNC_ERROR_EVICTED: the grant had been taken away; what was read may be torn, and what was written may
 *         be lost. The lock has ended now. ABUFFERSYNC_ERROR_ENDED: it had ended before.
 *         ABUFFERSYNC_ERROR_BAD_FD, ABUFFERSYNC_ERROR_BAD_FENCE, and ABUFFERSYNC_ERROR_BUSY if another thread waits for
 *         the lock: it goes on as it was.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_unlock(ABufferSyncGroup* _Nonnull group, ABufferSyncLock lock,
                                          int releaseFence);

/**
 * Ends a part of a grant; or a whole lock, with fences for single buffers. The work on the buffers is finished, or ends
 * when their fences signal: see ABufferSyncGroup_unlock(). After a part the grant goes on for the rest, with the same
 * deadline; without a rest it has ended. The group still has the buffers: ABufferSyncGroup_grow() gets them again.
 *
 * @param buffers the buffers of this part; null: ends the whole lock.
 * @param numBuffers the number of buffers; 0 for null. An array without elements is refused, so that it does not end
 *        the whole lock.
 * @param fences fences for these buffers, or null; the function takes the descriptors. The work on a buffer without a
 *        fence is finished.
 * @param numFences the number of fences; 0 for null.
 * @return the errors of ABufferSyncGroup_unlock(); after ABUFFERSYNC_ERROR_EVICTED for a part, unlock the lock to
 *         acknowledge it. ABUFFERSYNC_ERROR_UNKNOWN_BUFFER, and ABUFFERSYNC_ERROR_BUSY if a part of a lock that waits is
 *         named: the lock goes on as it was. If the answer for named buffers was lost (ABUFFERSYNC_ERROR_NO_RESOURCES),
 *         call again: ABUFFERSYNC_ERROR_UNKNOWN_BUFFER means that they were let go.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_unlockBuffers(ABufferSyncGroup* _Nonnull group,
                                                 ABufferSyncLock lock,
                                                 const ABufferSyncBufferId* _Nullable buffers,
                                                 size_t numBuffers,
                                                 const ABufferSyncFence* _Nullable fences,
                                                 size_t numFences);

/**
 * Makes exclusive accesses of a grant shared, when the writes are finished. Readers that wait are then
 * granted. ABufferSyncGroup_grow() can make an access exclusive again.
 *
 * @param buffers null for all buffers of the grant.
 * @param numBuffers the number of buffers; 0 for null.
 * @return ABUFFERSYNC_ERROR_EVICTED; ABUFFERSYNC_ERROR_ENDED; ABUFFERSYNC_ERROR_UNKNOWN_BUFFER;
 *         ABUFFERSYNC_ERROR_BUSY if the lock waits. If the answer of the service was lost, call again.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_downgrade(ABufferSyncGroup* _Nonnull group, ABufferSyncLock lock,
                                             const ABufferSyncBufferId* _Nullable buffers,
                                             size_t numBuffers);

/**
 * Ends a grant and locks buffers, the same or others, in one call of the service. Both happen, or
 * neither. Others that wait for the buffers come first. Blocks like ABufferSyncGroup_lock().
 *
 * @param done the lock that ends.
 * @param fences fences for its buffers, or null; the function takes the descriptors. The call does not wait for fences
 *        that the service can't take: it returns ABUFFERSYNC_ERROR_QUOTA.
 * @param wants as for ABufferSyncGroup_lock().
 * @param outLock receives the number of the new lock.
 * @return the errors of ABufferSyncGroup_unlockBuffers() for a whole lock, and of ABufferSyncGroup_lock(). After
 *         ABUFFERSYNC_ERROR_TIMED_OUT, ABUFFERSYNC_ERROR_CANCELLED, ABUFFERSYNC_ERROR_LOCK_FAILED and
 *         ABUFFERSYNC_ERROR_EVICTED the old grant has ended, and so have both if the answer of the
 *         service was lost. After any other error the old grant goes on.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_unlockAndLock(ABufferSyncGroup* _Nonnull group,
                                                 ABufferSyncLock done,
                                                 const ABufferSyncFence* _Nullable fences,
                                                 size_t numFences,
                                                 const ABufferSyncWant* _Nullable wants,
                                                 size_t numWants, int64_t timeoutNanos,
                                                 ABufferSyncLock* _Nonnull outLock);

/**
 * Asks the service for the group's locks. What is not there has ended or never was.
 *
 * @param outLocks null, or room for maxLocks locks. Receives the first maxLocks locks, the oldest number
 *        first.
 * @param outNumLocks receives the number of locks of the group.
 *
 * Available since version 1 of libbuffersync.
 */
ABufferSyncStatus ABufferSyncGroup_getLocks(const ABufferSyncGroup* _Nonnull group,
                                            ABufferSyncLockStatus* _Nullable outLocks,
                                            size_t maxLocks, size_t* _Nonnull outNumLocks);

__END_DECLS

#undef ABUFFERSYNC_ENUM
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
#if defined(ABUFFERSYNC_UNDEF_NONNULL)
#undef _Nonnull
#undef ABUFFERSYNC_UNDEF_NONNULL
#endif
#if defined(ABUFFERSYNC_UNDEF_NULLABLE)
#undef _Nullable
#undef ABUFFERSYNC_UNDEF_NULLABLE
#endif

#endif /* ANDROID_BUFFER_SYNC_H */
