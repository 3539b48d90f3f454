/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/**
 * @file buffer_sync.h
 * @brief Locks on dma-bufs that processes share: who may use which buffer when, with the cache
 * maintenance that a change of hands needs.
 *
 * A group is a set of dma-bufs, each with the access that its owner wants. It is locked and
 * unlocked as a whole; groups that want the same buffers are served by age, so no order of locking can
 * deadlock. A grant ends when it is unlocked, or at its deadline: then its holder is evicted, and the
 * next one is told that the content may be half written.
 *
 * Results. Every function returns an ABufferSyncStatus, 0 for success, and writes its out-parameters
 * only then. A call that fails has changed nothing unless it says otherwise.
 * ABufferSync_getLastErrorMessage() has the words. Besides what each function lists, all of them may
 * return
 * - ABUFFERSYNC_ERROR_INVALID_ARGUMENT for a null pointer where _Nonnull is said, or values out of
 *   range;
 * - ABUFFERSYNC_ERROR_INVALID_HANDLE for a handle that was closed, or never was one;
 * - ABUFFERSYNC_ERROR_FORKED in a child that was forked from the process that opened the connection
 *   (exec first);
 * - ABUFFERSYNC_ERROR_SERVICE_DIED: the service is gone, and every group and lock with it. Close the
 *   groups and open them anew: the ABufferSync finds the service when it is back;
 * - ABUFFERSYNC_ERROR_INTERNAL: binder failed, or the service broke its rules.
 *
 * Handles are names, not addresses: one that was closed is refused, never followed.
 *
 * Threads. Every function may be called from any thread. Calls on one group take turns; none waits
 * for another client, except ABufferSyncGroup_lock() and ABufferSyncGroup_tryLock(), which let other
 * threads' calls in meanwhile, and ABufferSyncGroup_unlock() where it says so. A grant is the group's,
 * not a thread's: any thread may unlock it. Nothing may be called from a signal handler.
 * From a destructor of a thread that is ending (a pthread key, C++'s thread_local) and from atexit handlers, a call that
 * needs the service may answer ABUFFERSYNC_ERROR_INTERNAL; what is closed there is let go.
 *
 * File descriptors. Those that are passed in stay the caller's, unless "takes" is said: then they
 * are closed in any case, also after an error. Those that come out are the caller's to close, unless
 * "lends" is said.
 *
 * Times are in nanoseconds; points in time are of CLOCK_MONOTONIC.
 */

#ifndef ANDROID_BUFFER_SYNC_H
#define ANDROID_BUFFER_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/cdefs.h>

/* What the NDK's own headers have from <sys/cdefs.h> and from clang. */
#if !defined(__INTRODUCED_IN)
#define __INTRODUCED_IN(api_level)
#define ABUFFERSYNC_UNDEF_INTRODUCED_IN
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

/* An enum of 32 bits, whatever the compiler would choose. */
#if defined(__cplusplus)
#define ABUFFERSYNC_ENUM(name) enum name : int32_t
#else
#define ABUFFERSYNC_ENUM(name) \
    typedef int32_t name;      \
    enum
#endif

#if defined(__cplusplus)
extern "C" {
#endif

/** As in <android/hardware_buffer.h>. */
typedef struct AHardwareBuffer AHardwareBuffer;

/** The connection to the service. */
typedef struct ABufferSync ABufferSync;

/** A set of dma-bufs that are locked and unlocked together. */
typedef struct ABufferSyncGroup ABufferSyncGroup;

/**
 * A dma-buf as the service names it: the same buffer has the same id in every group and process, for
 * as long as any group has it. Positive; 0 stands for all buffers of a grant where that is said.
 */
typedef int64_t ABufferSyncBufferId;

/** What a call came to. */
ABUFFERSYNC_ENUM(ABufferSyncStatus) {
    /** Done. */
    ABUFFERSYNC_OK = 0,
    /** A null pointer, or a value out of range. */
    ABUFFERSYNC_ERROR_INVALID_ARGUMENT = -1,
    /** Closed before, or no handle at all. */
    ABUFFERSYNC_ERROR_INVALID_HANDLE = -2,
    /** A descriptor is not open. */
    ABUFFERSYNC_ERROR_BAD_FD = -3,
    /** None of the descriptors is a dma-buf. */
    ABUFFERSYNC_ERROR_NOT_DMABUF = -4,
    /** A release fence is not a sync_file. */
    ABUFFERSYNC_ERROR_BAD_FENCE = -5,
    /** The group, or its grant, has no buffer of that id. */
    ABUFFERSYNC_ERROR_UNKNOWN_BUFFER = -6,
    /** The buffer is in the group for the CPU and was added for DMA, or the other way round. */
    ABUFFERSYNC_ERROR_ACCESS_CONFLICT = -7,
    /** A quota of this uid or a bound of the group is reached. */
    ABUFFERSYNC_ERROR_QUOTA = -8,
    /** The service or this process is short of descriptors or memory. */
    ABUFFERSYNC_ERROR_NO_RESOURCES = -9,
    /** The group has no buffers. */
    ABUFFERSYNC_ERROR_EMPTY_GROUP = -10,
    /** The group waits for a lock, or holds the buffer. */
    ABUFFERSYNC_ERROR_BUSY = -11,
    /** The group holds all of its buffers, or waits for them. */
    ABUFFERSYNC_ERROR_ALREADY_LOCKED = -12,
    /** The group holds nothing: it was not granted, or was unlocked before. */
    ABUFFERSYNC_ERROR_NOT_LOCKED = -13,
    /** Somebody holds one of the buffers or waits for it; or there is no event now. */
    ABUFFERSYNC_ERROR_WOULD_BLOCK = -14,
    /** No lock is waiting. */
    ABUFFERSYNC_ERROR_NOT_QUEUED = -15,
    /** The lock was not granted in time. What was held before it is held still. */
    ABUFFERSYNC_ERROR_TIMED_OUT = -16,
    /** Another thread took the lock back. */
    ABUFFERSYNC_ERROR_CANCELLED = -17,
    /**
     * An older group waits for what this one holds, and waiting for more could deadlock (the
     * kernel's EDEADLK): unlock, and lock again. That lock has the old place in line, which lasts for
     * ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS from the request that took it. When that is over, a lock
     * that would pass another group, which waits for a buffer already, ends with this too.
     */
    ABUFFERSYNC_ERROR_DEADLOCK = -18,
    /** The grant was taken away at its deadline: the work since may be lost. */
    ABUFFERSYNC_ERROR_EVICTED = -19,
    /**
     * An implicit fence of a buffer did not signal in time, or its cache maintenance failed:
     * ABufferSync_getLastErrorMessage() says which. What was held before the lock is held still.
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
    /** The service is gone. */
    ABUFFERSYNC_ERROR_SERVICE_DIED = -25,
    /** This process is a fork of the one that opened the connection. */
    ABUFFERSYNC_ERROR_FORKED = -26,
    /** Binder failed, or the service broke its rules. */
    ABUFFERSYNC_ERROR_INTERNAL = -27,
};

/**
 * What a group does with a buffer, and by whom. Reads share it, writes exclude everybody else. It has
 * to be what really happens: the cache maintenance before a grant is derived from it.
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
     * For DMA accesses, acquire fences include the dma-bufs' implicit fences, and release fences
     * are put there. Needs ABUFFERSYNC_CAPABILITY_IMPLICIT_FENCES.
     */
    ABUFFERSYNC_GROUP_IMPLICIT_FENCES = 0x1,
};

/** What ABufferSync_getCapability() tells. */
ABUFFERSYNC_ENUM(ABufferSyncCapability) {
    /** Whether grants come with acquire fences and can be ended with release fences: 0 or 1. */
    ABUFFERSYNC_CAPABILITY_RELEASE_FENCES = 0,
    /** Whether ABUFFERSYNC_GROUP_IMPLICIT_FENCES works: 0 or 1. */
    ABUFFERSYNC_CAPABILITY_IMPLICIT_FENCES = 1,
    /** How long a grant lasts at most, of a group that asked for nothing: nanoseconds. */
    ABUFFERSYNC_CAPABILITY_DEFAULT_HOLD_NANOS = 2,
    /** The longest hold limit that a group can have: nanoseconds. */
    ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS = 3,
    /** Groups that one uid may have open. */
    ABUFFERSYNC_CAPABILITY_MAX_GROUPS_PER_UID = 4,
    /** Buffers that one group may have. */
    ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_GROUP = 5,
    /** Buffers that the groups of one uid may have in all. */
    ABUFFERSYNC_CAPABILITY_MAX_BUFFERS_PER_UID = 6,
    /** Locks of one uid that may wait. */
    ABUFFERSYNC_CAPABILITY_MAX_QUEUED_PER_UID = 7,
    /** Release fences of one uid that may be pending. */
    ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_UID = 8,
    /** Release fences of one group that may be pending. */
    ABUFFERSYNC_CAPABILITY_MAX_FENCES_PER_GROUP = 9,
    /** Descriptors that one handle may have. */
    ABUFFERSYNC_CAPABILITY_MAX_FDS_PER_HANDLE = 10,
};

/** Types of events. */
ABUFFERSYNC_ENUM(ABufferSyncEventType) {
    /** A queued lock is granted. */
    ABUFFERSYNC_EVENT_GRANTED = 1,
    /**
     * A queued lock ended: an implicit fence of .buffer did not signal in time (.error is ETIMEDOUT),
     * or cache maintenance of .buffer failed with .error, another errno.
     */
    ABUFFERSYNC_EVENT_LOCK_FAILED = 2,
    /** The growth of a grant ended, see ABUFFERSYNC_ERROR_DEADLOCK: unlock, and lock again. */
    ABUFFERSYNC_EVENT_WOUNDED = 3,
    /** A queued lock has waited as long as it was to. */
    ABUFFERSYNC_EVENT_TIMED_OUT = 4,
    /** A grant was taken away at its deadline. */
    ABUFFERSYNC_EVENT_EVICTED = 5,
    /** The release fence of a grant that had been unlocked failed, or did not signal in time. */
    ABUFFERSYNC_EVENT_FENCE_EVICTED = 6,
};

/** What the event descriptor of a group reported. */
typedef struct ABufferSyncEvent {
    /** What happened. */
    ABufferSyncEventType type;
    /** LOCK_FAILED: why, an errno. Else 0. */
    int32_t error;
    /** Which lock, and the grant that it became: ABufferSyncGrant.id. */
    int64_t grant;
    /** LOCK_FAILED: which buffer. Else 0. */
    ABufferSyncBufferId buffer;
} ABufferSyncEvent;

/** What a group holds. */
typedef struct ABufferSyncGrant {
    /** Names the grant; never used twice by a service. */
    int64_t id;
    /** When it is taken away. */
    int64_t deadlineNanos;
    /** How many buffers it has. */
    int64_t numBuffers;
} ABufferSyncGrant;

/** What is true of a buffer that is held: bits of ABufferSyncBufferState.flags. */
ABUFFERSYNC_ENUM(ABufferSyncBufferFlags) {
    /**
     * Somebody who held the buffer and was evicted, or died, may still be at work on it. Ends when a
     * grant that began afterwards, a reader's too, has ended in order and its fences have signalled.
     */
    ABUFFERSYNC_BUFFER_EVICTED = 0x1,
    /** Other devices may still be at work: wait for the acquire fence. Only for DMA accesses. */
    ABUFFERSYNC_BUFFER_FENCED = 0x2,
    /**
     * The content may be half written: a writer was evicted or died. Ends when an exclusive grant that
     * began afterwards has ended in order and its fences have signalled. Readers drop the content,
     * writers overwrite all of it.
     */
    ABUFFERSYNC_BUFFER_TORN = 0x8,
};

/** A buffer that is held. */
typedef struct ABufferSyncBufferState {
    /** Which. */
    ABufferSyncBufferId buffer;
    /**
     * How many exclusive grants it has seen: two reads of one generation, neither of them
     * ABUFFERSYNC_BUFFER_EVICTED, saw the same content.
     */
    int64_t generation;
    /** ABufferSyncBufferFlags. */
    uint32_t flags;
    /** 0. */
    uint32_t reserved;
} ABufferSyncBufferState;

/** A release fence of one buffer, or of several. */
typedef struct ABufferSyncFence {
    /** Of which buffer; 0: of all that have none of their own. */
    ABufferSyncBufferId buffer;
    /** A sync_file. */
    int fd;
} ABufferSyncFence;

/**
 * The words for a status: a constant string, never null.
 */
const char* _Nonnull ABufferSyncStatus_toString(ABufferSyncStatus status) __INTRODUCED_IN(35);

/**
 * What the last failed call of this thread found, in more words than its status: for logs. Lends a
 * string that is valid until the thread's next call of this library; empty if none has failed yet.
 */
const char* _Nonnull ABufferSync_getLastErrorMessage(void) __INTRODUCED_IN(35);

/**
 * Connects to the default instance of the service. Does not wait for it to be started. A process has
 * one connection, which all handles share.
 *
 * @return ABUFFERSYNC_ERROR_NO_BINDER, ABUFFERSYNC_ERROR_NO_SERVICE.
 */
ABufferSyncStatus ABufferSync_open(ABufferSync* _Nullable* _Nonnull outSync) __INTRODUCED_IN(35);

/**
 * As ABufferSync_open(), to another instance or over another binder device (the first that a process
 * opens stays; later ones are ignored).
 *
 * @param device null: the default, "/dev/binder".
 * @param instance null: the default, "vendor.buffersync.IBufferSync/default".
 */
ABufferSyncStatus ABufferSync_openInstance(const char* _Nullable device,
                                           const char* _Nullable instance,
                                           ABufferSync* _Nullable* _Nonnull outSync)
        __INTRODUCED_IN(35);

/**
 * Closes a handle. Groups that were opened with it go on.
 */
ABufferSyncStatus ABufferSync_close(ABufferSync* _Nonnull sync) __INTRODUCED_IN(35);

/**
 * What the service can do and where its bounds are. Constant while the service runs.
 */
ABufferSyncStatus ABufferSync_getCapability(ABufferSync* _Nonnull sync,
                                            ABufferSyncCapability capability,
                                            int64_t* _Nonnull outValue) __INTRODUCED_IN(35);

/**
 * Has the service write its dump (buffers, holders, waiters, counters) to a descriptor. Blocks while
 * that takes nothing.
 */
ABufferSyncStatus ABufferSync_dump(ABufferSync* _Nonnull sync, int fd) __INTRODUCED_IN(35);

/**
 * Opens a group, with no buffers in it.
 *
 * @param name for dumps and logs: 1 to 64 bytes of UTF-8 without control characters.
 * @param holdLimitNanos how long one grant may last before it is taken away; 0: the service's
 *        default. Cut to ABUFFERSYNC_CAPABILITY_MAX_HOLD_NANOS, rounded up to milliseconds.
 * @param flags ABufferSyncGroupFlags.
 * @return ABUFFERSYNC_ERROR_INVALID_ARGUMENT for a bad name, a negative limit or unknown flags;
 *         ABUFFERSYNC_ERROR_UNSUPPORTED, ABUFFERSYNC_ERROR_QUOTA, ABUFFERSYNC_ERROR_NO_RESOURCES.
 */
ABufferSyncStatus ABufferSync_openGroup(ABufferSync* _Nonnull sync, const char* _Nonnull name,
                                        int64_t holdLimitNanos, uint32_t flags,
                                        ABufferSyncGroup* _Nullable* _Nonnull outGroup)
        __INTRODUCED_IN(35);

/**
 * Ends a group, and the handle. A lock that waits is taken back: a thread that waits for it gets
 * ABUFFERSYNC_ERROR_INVALID_HANDLE. A grant ends as an eviction, since nobody said that the work was
 * finished: unlock first.
 */
ABufferSyncStatus ABufferSyncGroup_close(ABufferSyncGroup* _Nonnull group) __INTRODUCED_IN(35);

/**
 * How long a grant of the group lasts at most.
 */
ABufferSyncStatus ABufferSyncGroup_getHoldLimit(ABufferSyncGroup* _Nonnull group,
                                                int64_t* _Nonnull outNanos) __INTRODUCED_IN(35);

/**
 * Adds one dma-buf. One that the group has already takes the stronger access. Neither this library nor
 * the service keeps the descriptor.
 *
 * A group that holds may add buffers, or a stronger access to what it holds: the next
 * ABufferSyncGroup_lock() gets them.
 *
 * @param outBuffer may be null.
 * @return ABUFFERSYNC_ERROR_BAD_FD, ABUFFERSYNC_ERROR_NOT_DMABUF, ABUFFERSYNC_ERROR_BUSY,
 *         ABUFFERSYNC_ERROR_QUOTA, ABUFFERSYNC_ERROR_ACCESS_CONFLICT,
 *         ABUFFERSYNC_ERROR_NO_RESOURCES.
 */
ABufferSyncStatus ABufferSyncGroup_addDmaBuf(ABufferSyncGroup* _Nonnull group, int dmaBufFd,
                                             ABufferSyncAccess access,
                                             ABufferSyncBufferId* _Nullable outBuffer)
        __INTRODUCED_IN(35);

/**
 * Adds the dma-bufs among the descriptors of a native handle; others (a gralloc handle carries
 * metadata memory too) are skipped.
 *
 * @param fds native_handle_t.data, or an array of one's own.
 * @param numFds native_handle_t.numFds: 1 to ABUFFERSYNC_CAPABILITY_MAX_FDS_PER_HANDLE.
 * @param outBuffers null, or room for numFds ids: those of the dma-bufs, in the order of their
 *        first descriptor.
 * @param outNumBuffers null, or how many ids there are.
 * @return as ABufferSyncGroup_addDmaBuf().
 */
ABufferSyncStatus ABufferSyncGroup_addNativeHandle(ABufferSyncGroup* _Nonnull group,
                                                   const int* _Nonnull fds, size_t numFds,
                                                   ABufferSyncAccess access,
                                                   ABufferSyncBufferId* _Nullable outBuffers,
                                                   size_t* _Nullable outNumBuffers)
        __INTRODUCED_IN(35);

/**
 * Adds the dma-bufs of an AHardwareBuffer, which need not outlive the call.
 *
 * @param outBuffers null, or room for maxBuffers ids.
 * @param outNumBuffers null, or how many dma-bufs were added; of them the first maxBuffers are in
 *        outBuffers.
 * @return ABUFFERSYNC_ERROR_UNSUPPORTED where libnativewindow has no
 *         AHardwareBuffer_getNativeHandle: on Linux, and in an Android app that loads this library from
 *         its own package; and as ABufferSyncGroup_addDmaBuf().
 */
ABufferSyncStatus ABufferSyncGroup_addHardwareBuffer(ABufferSyncGroup* _Nonnull group,
                                                     const AHardwareBuffer* _Nonnull buffer,
                                                     ABufferSyncAccess access,
                                                     ABufferSyncBufferId* _Nullable outBuffers,
                                                     size_t maxBuffers,
                                                     size_t* _Nullable outNumBuffers)
        __INTRODUCED_IN(35);

/**
 * Takes one buffer out of the group that it does not hold.
 *
 * @return ABUFFERSYNC_ERROR_UNKNOWN_BUFFER, ABUFFERSYNC_ERROR_BUSY.
 */
ABufferSyncStatus ABufferSyncGroup_remove(ABufferSyncGroup* _Nonnull group,
                                          ABufferSyncBufferId buffer) __INTRODUCED_IN(35);

/**
 * Takes all buffers out of the group.
 *
 * @return ABUFFERSYNC_ERROR_BUSY if it waits or holds.
 */
ABufferSyncStatus ABufferSyncGroup_removeAll(ABufferSyncGroup* _Nonnull group) __INTRODUCED_IN(35);

/**
 * Locks every buffer of the group, all or nothing. Blocks the calling thread until the lock is
 * granted or has ended; from the grant on the group's hold limit runs.
 *
 * In a group that holds, gets what was added since: the deadline stays, and what is held stays held,
 * however this ends.
 *
 * @param timeoutNanos how long to wait at most; negative: as long as it takes, which other holders'
 *        deadlines bound.
 * @return ABUFFERSYNC_ERROR_TIMED_OUT; ABUFFERSYNC_ERROR_CANCELLED by another thread;
 *         ABUFFERSYNC_ERROR_LOCK_FAILED; ABUFFERSYNC_ERROR_EMPTY_GROUP;
 *         ABUFFERSYNC_ERROR_ALREADY_LOCKED if all is held, or another thread waits;
 *         ABUFFERSYNC_ERROR_DEADLOCK; ABUFFERSYNC_ERROR_EVICTED if the grant to be grown was taken
 *         away, which ABufferSyncGroup_unlock() acknowledges; ABUFFERSYNC_ERROR_QUOTA,
 *         ABUFFERSYNC_ERROR_NO_RESOURCES, ABUFFERSYNC_ERROR_EVENTS_UNREAD.
 */
ABufferSyncStatus ABufferSyncGroup_lock(ABufferSyncGroup* _Nonnull group, int64_t timeoutNanos)
        __INTRODUCED_IN(35);

/**
 * As ABufferSyncGroup_lock(), but waits for no other client and for no fence: at most for cache
 * maintenance.
 *
 * @return ABUFFERSYNC_ERROR_WOULD_BLOCK, and those of ABufferSyncGroup_lock();
 *         ABUFFERSYNC_ERROR_LOCK_FAILED also if an implicit fence is pending.
 */
ABufferSyncStatus ABufferSyncGroup_tryLock(ABufferSyncGroup* _Nonnull group) __INTRODUCED_IN(35);

/**
 * Asks for the lock and returns at once. If it is not granted with that, its place in line is taken,
 * and ABUFFERSYNC_EVENT_GRANTED, _LOCK_FAILED, _TIMED_OUT or (in a group that holds) _WOUNDED or
 * _EVICTED follows.
 *
 * @param outGranted true: everything is held, no event follows.
 * @return as ABufferSyncGroup_lock().
 */
ABufferSyncStatus ABufferSyncGroup_startLock(ABufferSyncGroup* _Nonnull group, int64_t timeoutNanos,
                                             bool* _Nonnull outGranted) __INTRODUCED_IN(35);

/**
 * Takes a waiting lock back, also one that another thread waits for. No event of it follows.
 *
 * @return ABUFFERSYNC_ERROR_NOT_QUEUED if none waits; it may have been granted meanwhile.
 */
ABufferSyncStatus ABufferSyncGroup_cancel(ABufferSyncGroup* _Nonnull group) __INTRODUCED_IN(35);

/**
 * Lends the group's event descriptor, for epoll(7) or ALooper_addFd(): readable when
 * ABufferSyncGroup_getEvent() has something, hung up when the service is gone. Valid until the group
 * is closed; not to be read, written or closed.
 */
ABufferSyncStatus ABufferSyncGroup_getEventFd(ABufferSyncGroup* _Nonnull group,
                                              int* _Nonnull outFd) __INTRODUCED_IN(35);

/**
 * The next event. Never blocks. While a thread waits in ABufferSyncGroup_lock() the events are its own.
 *
 * @return ABUFFERSYNC_ERROR_WOULD_BLOCK if there is none now.
 */
ABufferSyncStatus ABufferSyncGroup_getEvent(ABufferSyncGroup* _Nonnull group,
                                            ABufferSyncEvent* _Nonnull outEvent)
        __INTRODUCED_IN(35);

/**
 * What the group holds. Reads events as far as there are any, so that an eviction is known at once.
 *
 * @return ABUFFERSYNC_ERROR_NOT_LOCKED; ABUFFERSYNC_ERROR_EVICTED if the grant was taken away:
 *         ABufferSyncGroup_unlock() acknowledges that.
 */
ABufferSyncStatus ABufferSyncGroup_getGrant(ABufferSyncGroup* _Nonnull group,
                                            ABufferSyncGrant* _Nonnull outGrant)
        __INTRODUCED_IN(35);

/**
 * What was true of a buffer when it was granted.
 *
 * @return ABUFFERSYNC_ERROR_NOT_LOCKED, ABUFFERSYNC_ERROR_UNKNOWN_BUFFER.
 */
ABufferSyncStatus ABufferSyncGroup_getBufferState(ABufferSyncGroup* _Nonnull group,
                                                  ABufferSyncBufferId buffer,
                                                  ABufferSyncBufferState* _Nonnull outState)
        __INTRODUCED_IN(35);

/**
 * What devices have to wait for before they begin: the release fences of earlier holders, merged.
 *
 * @param buffer which; 0: all of the grant.
 * @param outFence a sync_file, or -1 if nothing is pending. If it signals an error, what is in the
 *        buffers is not what it should be.
 * @return ABUFFERSYNC_ERROR_NOT_LOCKED, ABUFFERSYNC_ERROR_UNKNOWN_BUFFER, ABUFFERSYNC_ERROR_EVICTED,
 *         ABUFFERSYNC_ERROR_NO_RESOURCES.
 */
ABufferSyncStatus ABufferSyncGroup_getAcquireFence(ABufferSyncGroup* _Nonnull group,
                                                   ABufferSyncBufferId buffer,
                                                   int* _Nonnull outFence) __INTRODUCED_IN(35);

/**
 * Ends the grant.
 *
 * With a release fence the buffers are the group's until it has signalled: devices that are next get
 * them at once and wait for the fence; the CPU gets them when it has signalled. A fence that fails,
 * or has not signalled when the hold limit has passed from now, is an eviction. If the service can't
 * take the fence (a quota), this waits for it here, until the deadline, and unlocks then.
 *
 * @param releaseFence a sync_file, which this takes; -1: the work on the buffers is finished.
 * @return ABUFFERSYNC_ERROR_NOT_LOCKED. ABUFFERSYNC_ERROR_BAD_FD, ABUFFERSYNC_ERROR_BAD_FENCE: the
 *         grant goes on. ABUFFERSYNC_ERROR_EVICTED: it had been taken away, what was read may be torn
 *         and what was written may be lost; the group holds nothing now.
 */
ABufferSyncStatus ABufferSyncGroup_unlock(ABufferSyncGroup* _Nonnull group, int releaseFence)
        __INTRODUCED_IN(35);

/**
 * As ABufferSyncGroup_unlock(), with fences of single buffers.
 *
 * @param fences takes their descriptors. What has none is finished.
 * @return ABUFFERSYNC_ERROR_UNKNOWN_BUFFER: the grant goes on; and as ABufferSyncGroup_unlock().
 */
ABufferSyncStatus ABufferSyncGroup_unlockWithFences(ABufferSyncGroup* _Nonnull group,
                                                    const ABufferSyncFence* _Nonnull fences,
                                                    size_t numFences) __INTRODUCED_IN(35);

/**
 * Ends the grant and locks another group, in one call of the service: for a pipeline that has a group for
 * each of its frames. Blocks as ABufferSyncGroup_lock() of the next group does.
 *
 * @param releaseFence as for ABufferSyncGroup_unlock(), but that one which the service can't take is not
 *        waited for.
 * @param next another group of this process, which neither waits nor holds.
 * @param timeoutNanos as for ABufferSyncGroup_lock().
 * @return what ABufferSyncGroup_unlock() and ABufferSyncGroup_lock() return, ABUFFERSYNC_ERROR_QUOTA,
 *         ABUFFERSYNC_ERROR_NO_RESOURCES, and ABUFFERSYNC_ERROR_INVALID_ARGUMENT if the next group is
 *         the same. The grant has ended if the next lock began: after
 *         ABUFFERSYNC_ERROR_TIMED_OUT, ABUFFERSYNC_ERROR_CANCELLED and ABUFFERSYNC_ERROR_LOCK_FAILED;
 *         and it is gone after ABUFFERSYNC_ERROR_EVICTED. Otherwise it goes on.
 */
ABufferSyncStatus ABufferSyncGroup_unlockAndLock(ABufferSyncGroup* _Nonnull group, int releaseFence,
                                                 ABufferSyncGroup* _Nonnull next,
                                                 int64_t timeoutNanos) __INTRODUCED_IN(35);

#if defined(__cplusplus)
}
#endif

#undef ABUFFERSYNC_ENUM
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
#if defined(ABUFFERSYNC_UNDEF_INTRODUCED_IN)
#undef __INTRODUCED_IN
#undef ABUFFERSYNC_UNDEF_INTRODUCED_IN
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
