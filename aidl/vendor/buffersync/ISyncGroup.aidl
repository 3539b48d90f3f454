// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import android.hardware.common.NativeHandle;
import vendor.buffersync.Access;
import vendor.buffersync.LockReply;
import vendor.buffersync.ReleaseFence;

/**
 * A set of dma-bufs, each with an access, that are locked and unlocked together.
 *
 * One lock at a time. A group is idle, waiting (queued), holding, or growing: holding and waiting
 * for more. Every method may throw ERROR_CLOSED. See IBufferSync for errors in general.
 *
 * Locks are served by age: a lock has a ticket from its first request until it was granted and
 * unlocked. A lock that is cancelled, times out, fails or is wounded leaves its ticket to the
 * group's next lock. A ticket lives for Capabilities.maxHoldMs from the request that drew it, and
 * nothing renews it: after that the group's next lock draws a new one. A ticket that was kept passes
 * nobody who came while the group was away: if a younger lock waits, in conflict, at a buffer to which
 * somebody came meanwhile, or which was added or strengthened since, the lock draws a new ticket.
 *
 * Who waits for what, when work is handed over with a fence (">" asks, "*" is granted, "F" is the
 * fence that the work's driver made, "!" it signals; unlock(F) is unlockWithFences()):
 *
 * <pre>
 * CPU to GPU     app  *==writes==unlock()
 *                gpu  >..............*==submit==unlock(G)       no fence: null to wait for
 *
 * GPU to GPU     one  *==submit==unlock(F)-----------F!
 *                two  >.............*==submit, waits for F==unlock(G)------G!
 *                                   granted at once, acquireFence = F
 *
 * GPU to CPU     gpu  *==submit==unlock(F)-----------F!
 *                app  >..............................*==reads   START is issued after F
 *
 * implicit-sync  gpu  *==submit==unlock(F)-----------F!         implicitFences: F is put into the
 * driver         kms     >----waits for F, in the kernel----*   dma-buf, and what drivers put there
 *                gpu                 >*==waits for theirs too   is in the acquire fence
 * </pre>
 */
@VintfStability
interface ISyncGroup {
    /**
     * Adds the dma-bufs of a handle to the group. Other descriptors in the handle (a gralloc
     * handle carries metadata memory too) are skipped; the ints are not looked at. The service
     * keeps no reference to the caller's descriptors.
     *
     * A buffer that its last group lets go while it is marked EVICTED or TORN (see EventRecord) is
     * remembered: whoever adds it next is told in its grants. Its id and its generation continue then.
     * The service keeps the name of such a buffer, and neither a descriptor nor the memory. The number
     * of remembered buffers is bounded: the oldest is forgotten first.
     *
     * A buffer is known by the dma-buf behind the descriptor, so the same buffer added through
     * another descriptor, handle or process is the same buffer. A buffer that the group has
     * already takes the stronger access (WRITE over READ, DMA_WRITE over DMA_READ).
     *
     * A group that holds may add buffers, or a stronger access to what it holds; they are its own
     * when the next lock() is granted.
     *
     * @param handle 1 to Capabilities.maxFdsPerHandle descriptors.
     * @param access what this group does with the buffers.
     * @return the ids of the dma-bufs, in the order of their first descriptor in the handle. An id
     *         means the same buffer in every group, for as long as any group has the buffer or the
     *         service remembers it.
     * @throws EX_ILLEGAL_ARGUMENT for an unknown access, a handle with no descriptors or more than
     *         Capabilities.maxFdsPerHandle, or a null one among them.
     * @throws ERROR_NOT_DMABUF if no descriptor is a dma-buf.
     * @throws ERROR_BUSY, ERROR_QUOTA, ERROR_ACCESS_CONFLICT, ERROR_NO_RESOURCES.
     */
    long[] add(in NativeHandle handle, in Access access);

    /**
     * Takes one buffer out of the group that it does not hold.
     *
     * @throws ERROR_UNKNOWN_BUFFER, ERROR_BUSY.
     */
    void remove(long bufferId);

    /**
     * Takes all buffers out of the group.
     *
     * @throws ERROR_BUSY if it waits or holds.
     */
    void removeAll();

    /**
     * Locks every buffer of the group, all or nothing. Returns at once: GRANTED, or QUEUED and the
     * grant comes through the event pipe. The lock takes its place by age (its ticket): on a
     * buffer that two locks share with conflicting access, the older is served first; a lock that
     * conflicts with nobody ahead of it is granted without waiting.
     *
     * From the grant on the group's hold limit runs; then the grant is taken away.
     *
     * A lock for the CPU waits for the implicit fences of its buffers too (see
     * GroupOptions.implicitFences), and fails if one does not signal (EventType.LOCK_FAILED). That
     * wait is the lock's own: devices and readers that may share the buffer with it go past it.
     *
     * In a group that holds, lock() grows the grant by what was added since: same token, same
     * deadline, and the reply or GRANTED record names all buffers. What it holds it keeps, however
     * the growth ends. If it had to wait while an older lock waits for what it holds, the answer is
     * ERROR_DEADLOCK; if an older lock comes later, the wait ends with a WOUNDED record. If the life
     * of its ticket is over, the answer is ERROR_DEADLOCK also where it would pass a conflicting lock
     * that waits there already. If the grant had been taken away by then, it is an ordinary
     * lock, as its new token tells.
     *
     * @param timeoutNs how long to wait at most, in nanoseconds; 0: as long as it takes, which other
     *         holders' deadlines bound. Then a TIMED_OUT record ends the lock.
     * @throws EX_ILLEGAL_ARGUMENT for a negative time-out.
     * @throws ERROR_ALREADY_LOCKED if the group waits already, or holds all of its buffers.
     * @throws ERROR_EMPTY_GROUP, ERROR_DEADLOCK, ERROR_QUOTA, ERROR_EVENTS_UNREAD.
     */
    LockReply lock(long timeoutNs);

    /**
     * As lock(), but never waits for another client: ERROR_WOULD_BLOCK instead, also where the CPU
     * would have to wait for a release fence (a device is granted with it). QUEUED can still be the
     * answer, when all buffers are taken and only cache maintenance is to be finished, or the service
     * has to look whether an implicit fence is pending. It does not wait for such a fence: if one is
     * pending, LOCK_FAILED with FLAG_FENCE follows at once.
     *
     * @throws ERROR_WOULD_BLOCK, and those of lock().
     */
    LockReply tryLock();

    /**
     * Takes back a lock that is still waiting. No record of it follows. What the group held before
     * the lock it keeps.
     *
     * @throws ERROR_NOT_QUEUED if none is waiting: it was granted or failed meanwhile (its record
     *         is in the event pipe), or there was none.
     */
    void cancel();

    /**
     * What a grant's devices have to wait for: the release fences of earlier holders that have not
     * signalled, and, with GroupOptions.implicitFences, the fences in the dma-buf.
     *
     * @param token as LockReply or the GRANTED record named the grant.
     * @param bufferId one buffer of the grant; 0: all of them.
     * @return a sync_file, several merged; null if nothing is pending (any more). The service has opened
     *         the file, whoever made the fences: SELinux asks the receiver of a descriptor for `fd use`
     *         of the domain that opened it.
     * @throws ERROR_BAD_TOKEN if the group does not hold this grant, ERROR_EVICTED if it was taken
     *         away.
     * @throws ERROR_UNKNOWN_BUFFER if the grant has no such buffer.
     * @throws ERROR_NO_RESOURCES if no descriptor could be made.
     */
    @nullable ParcelFileDescriptor getAcquireFence(long token, long bufferId);

    /**
     * Ends a grant, and takes back a lock that was to grow it. The work on the buffers is finished.
     *
     * @param token as LockReply or the GRANTED record named it.
     * @throws ERROR_BAD_TOKEN if the token names no grant of this group, or one that was ended
     *         before.
     * @throws ERROR_EVICTED if the grant had been taken away.
     */
    void unlock(long token);

    /**
     * Ends a grant as unlock() does, with work that goes on: the buffers are the group's until the
     * fences have signalled. Devices that are next are granted them at once and get the fences as
     * their acquire fence; the CPU is granted them when the fences have signalled. A reader's fence
     * concerns writers only. A fence that fails, or has not signalled when the group's hold limit has
     * passed since the unlock, is an eviction.
     *
     * @param token as for unlock().
     * @param fences one for all buffers, or some for some: see ReleaseFence. At most one more than
     *         the group can have buffers. What has no fence is finished.
     * @throws EX_ILLEGAL_ARGUMENT for too many fences.
     * @throws ERROR_BAD_TOKEN, ERROR_EVICTED as unlock() does.
     * @throws ERROR_BAD_FENCE if a descriptor is not a sync_file.
     * @throws ERROR_UNKNOWN_BUFFER for the fence of a buffer that the grant does not have.
     * @throws ERROR_QUOTA if too many release fences of the group or the uid are pending, or one is made of
     *         more than ReleaseFence.MAX_FENCES.
     * @throws ERROR_NO_RESOURCES. After each of the last four the grant goes on.
     */
    void unlockWithFences(long token, in ReleaseFence[] fences);

    /**
     * Ends a grant as unlock() does, then locks another group, or the same one, as lock() does: one
     * call where a pipeline would need two for each frame. Both happen, or neither.
     *
     * @param token the grant that ends, of this group.
     * @param nextKey OpenedGroup.key of the group that is locked. Its GRANTED record, if it has to
     *         wait, comes through its own event pipe.
     * @param timeoutNs as for lock().
     * @return what lock() of that group would return.
     * @throws ERROR_CLOSED if nextKey is no open group's.
     * @throws ERROR_ALREADY_LOCKED if that group waits or holds, unless it is this one.
     * @throws those of unlock() and of lock(), but ERROR_DEADLOCK. After any of them the grant is
     *         what it was before, and nothing is locked.
     */
    LockReply unlockAndLock(long token, long nextKey, long timeoutNs);

    /**
     * As unlockAndLock(), but the grant ends as unlockWithFences() ends it.
     *
     * @throws those of unlockWithFences() and of unlockAndLock().
     */
    LockReply unlockWithFencesAndLock(
            long token, in ReleaseFence[] fences, long nextKey, long timeoutNs);

    /**
     * Ends the group in order: a waiting lock is taken back, a grant is released as by unlock()
     * without a fence, the buffers are let go, the event pipe reports POLLHUP. Every later call
     * throws ERROR_CLOSED.
     */
    void close();
}
