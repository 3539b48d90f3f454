// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import android.hardware.common.NativeHandle;
import vendor.buffersync.Access;
import vendor.buffersync.LockReply;
import vendor.buffersync.ReleaseFence;

/**
 * A set of dma-bufs, each with a declared access, that are locked and unlocked together.
 *
 * A group has one lock at a time. It is idle, waiting (queued), holding, or growing: it holds and
 * waits for more. Every method may throw ERROR_CLOSED. See IBufferSync for errors in general.
 *
 * Locks are served by age: a lock has a ticket from its first request until it has been granted and
 * unlocked. A lock that is cancelled, times out, fails or is wounded leaves its ticket to the
 * group's next lock. A ticket lives for Capabilities.maxHoldMs from the request that drew it, and
 * nothing renews it: after that time the group's next lock draws a new one. A ticket that was kept
 * passes no lock that came while the group was not in line: if a younger conflicting lock waits for
 * a buffer for which somebody has asked meanwhile, or which was added since or has a stronger
 * access since, the lock draws a new ticket.
 *
 * The pictures show who waits for what when work is handed over with a fence (">" asks, "*" is
 * granted, "F" is the fence that the driver of the work made, "!" it signals; unlock(F) is
 * unlockWithFences()):
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
     * Adds the dma-bufs of a handle to the group. Other descriptors in the handle (a gralloc handle
     * carries metadata memory too) are skipped; the ints are ignored. The service keeps no
     * reference to the caller's descriptors.
     *
     * The service remembers a buffer that is marked EVICTED or TORN (see EventRecord) when its last
     * group lets it go: the next group that adds it sees the mark in its grants. The id and the
     * generation of the buffer continue then. The service keeps the identity of such a buffer, and
     * neither a descriptor nor the memory. The number of remembered buffers is limited: the oldest
     * is forgotten first.
     *
     * The dma-buf behind the descriptor identifies a buffer, so a dma-buf that is added through
     * another descriptor, handle or process is the same buffer. If the group has the buffer
     * already, the stronger access applies (WRITE over READ, DMA_WRITE over DMA_READ).
     *
     * A group that holds may add buffers, or a stronger access to one that it holds; it has them
     * when the next lock() is granted.
     *
     * @param handle 1 to Capabilities.maxFdsPerHandle descriptors.
     * @param access how this group uses the buffers.
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
     * Removes one buffer from the group, which must not hold it.
     *
     * @throws ERROR_UNKNOWN_BUFFER, ERROR_BUSY.
     */
    void remove(long bufferId);

    /**
     * Removes all buffers from the group.
     *
     * @throws ERROR_BUSY if the group waits or holds.
     */
    void removeAll();

    /**
     * Locks every buffer of the group, all or nothing. Returns at once: with GRANTED, or with
     * QUEUED, and then the grant comes through the event channel. The lock takes its place by age
     * (its ticket): on a buffer that two locks want with conflicting access, the older lock is
     * served first; a lock that conflicts with no lock ahead of it is granted without waiting.
     *
     * The group's hold limit counts from the grant, or from the first conflict
     * (GroupOptions.holdFrom); when it is over, the grant is taken away.
     *
     * A lock for the CPU waits for the implicit fences of its buffers too (see
     * GroupOptions.implicitFences), and fails if one does not signal (EventType.LOCK_FAILED). Only
     * this lock waits: devices and readers that may share the buffer with it can pass it.
     *
     * In a group that holds, lock() grows the grant by what it lacks: buffers and accesses that
     * were added since, let go (unlockBuffers()) or shared (downgrade()). The token and the
     * deadline stay the same, and the reply or GRANTED record names all buffers. The group keeps
     * what it holds, even if the growth fails. If it would have to wait while an older lock waits
     * for a buffer that it holds, the answer is ERROR_DEADLOCK; if an older lock comes later, the
     * wait ends with a WOUNDED record. If the life of its ticket is over, the answer is
     * ERROR_DEADLOCK also if it would pass a conflicting lock that already waits for the buffer. If
     * the grant was taken away before the call, this is an ordinary lock, as its new token tells.
     *
     * @param timeoutNs the longest time to wait, in nanoseconds; 0 for no time-out: the deadlines
     *         of other holders bound the wait. After that time a TIMED_OUT record ends the lock.
     * @throws EX_ILLEGAL_ARGUMENT for a negative time-out.
     * @throws ERROR_ALREADY_LOCKED if the group already waits, or holds all of its buffers with the
     *         accesses of add().
     * @throws ERROR_EMPTY_GROUP, ERROR_DEADLOCK, ERROR_QUOTA, ERROR_EVENTS_UNREAD.
     */
    LockReply lock(long timeoutNs);

    /**
     * Like lock(), but never waits for another client: it throws ERROR_WOULD_BLOCK instead, also if
     * the CPU would have to wait for a release fence (a device is granted with the fence). The
     * answer can still be QUEUED, if the group has all buffers and only cache maintenance must
     * finish, or if the service must look for a pending implicit fence. The service does not wait
     * for such a fence: if one is pending, LOCK_FAILED with FLAG_FENCE follows at once.
     *
     * @throws ERROR_WOULD_BLOCK, and the errors of lock().
     */
    LockReply tryLock();

    /**
     * Cancels a lock that still waits. No record of that lock follows. The group keeps what it held
     * before the lock.
     *
     * @throws ERROR_NOT_QUEUED if no lock waits: it was granted or failed meanwhile (its record is
     *         in the event channel), or there was none.
     */
    void cancel();

    /**
     * Returns the fences that a grant's devices must wait for: the release fences of earlier
     * holders that have not signalled, and, with GroupOptions.implicitFences, the fences in the
     * dma-buf.
     *
     * @param token the token of the grant, from LockReply or the GRANTED record.
     * @param bufferId one buffer of the grant; 0 for all of them.
     * @return a sync_file, in which several fences are merged; null if none is pending (any more).
     *         The service has opened the file, whoever made the fences: SELinux requires that the
     *         receiver of a descriptor has `fd use` on the domain that opened it.
     * @throws ERROR_BAD_TOKEN if the group does not hold this grant, ERROR_EVICTED if it was taken
     *         away.
     * @throws ERROR_UNKNOWN_BUFFER if the grant has no such buffer.
     * @throws ERROR_NO_RESOURCES if no descriptor could be made.
     */
    @nullable ParcelFileDescriptor getAcquireFence(long token, long bufferId);

    /**
     * Ends a grant, and cancels a lock that would grow it. The work on the buffers is finished.
     *
     * @param token the token of the grant, from LockReply or the GRANTED record.
     * @throws ERROR_BAD_TOKEN if the token names no grant of this group, or one that has ended
     *         before.
     * @throws ERROR_EVICTED if the grant had been taken away.
     */
    void unlock(long token);

    /**
     * Ends a grant like unlock(), while the work goes on: the buffers still belong to the group
     * until the fences have signalled. A device that is next is granted the buffers at once and
     * gets the fences as its acquire fence; the CPU is granted them when the fences have signalled.
     * Only writers wait for a reader's fence. A fence that fails, or has not signalled when the
     * group's hold limit has passed since the unlock, counts as an eviction.
     *
     * @param token as for unlock().
     * @param fences one fence for all buffers, or fences for single buffers: see ReleaseFence. At
     *         most one fence more than the group can have buffers. The work on a buffer without a
     *         fence is finished.
     * @throws EX_ILLEGAL_ARGUMENT for too many fences.
     * @throws ERROR_BAD_TOKEN, ERROR_EVICTED as in unlock().
     * @throws ERROR_BAD_FENCE if a descriptor is not a sync_file.
     * @throws ERROR_UNKNOWN_BUFFER if a fence is for a buffer that the grant does not have.
     * @throws ERROR_QUOTA if too many release fences of the group or the uid are pending, or if one
     *         consists of more than ReleaseFence.MAX_FENCES fences.
     * @throws ERROR_NO_RESOURCES. After each of the last four errors the grant goes on.
     */
    void unlockWithFences(long token, in ReleaseFence[] fences);

    /**
     * Ends a grant like unlock(), then locks another group, or the same group, like lock(): a
     * pipeline needs one call instead of two for each frame. Both happen, or neither.
     *
     * @param token the grant of this group that ends.
     * @param nextKey OpenedGroup.key of the group to lock. If that group has to wait, its GRANTED
     *         record comes through its own event channel.
     * @param timeoutNs as for lock().
     * @return what lock() of that group would return.
     * @throws ERROR_CLOSED if nextKey is not the key of an open group.
     * @throws ERROR_ALREADY_LOCKED if that group waits or holds, unless it is this one.
     * @throws the errors of unlock() and of lock(), except ERROR_DEADLOCK. After any error the
     *         grant is as it was before, and nothing is locked.
     */
    LockReply unlockAndLock(long token, long nextKey, long timeoutNs);

    /**
     * Like unlockAndLock(), but the grant ends as in unlockWithFences().
     *
     * @throws the errors of unlockWithFences() and of unlockAndLock().
     */
    LockReply unlockWithFencesAndLock(
            long token, in ReleaseFence[] fences, long nextKey, long timeoutNs);

    /**
     * Ends a grant for the named buffers only, as unlockWithFences() does for all. The grant goes
     * on for the others, with the same token and deadline. When it has let the last one go, it has
     * ended, and its token is dead. The group still has the buffers that were let go: its next
     * lock() grows the grant by them again, unless it has removed them.
     *
     * @param token as for unlock().
     * @param buffers at least one, at most Capabilities.maxBuffersPerGroup. To name one twice is to
     *         name it once.
     * @param fences one fence for all of these buffers, or fences for single ones: see
     *         ReleaseFence. The work on a buffer without a fence is finished.
     * @throws EX_ILLEGAL_ARGUMENT for no buffers, or too many buffers or fences.
     * @throws ERROR_UNKNOWN_BUFFER if the grant does not have one of the buffers, or a fence is for
     *         another buffer.
     * @throws ERROR_BUSY if the group waits for more: cancel() first.
     * @throws ERROR_EVENTS_UNREAD if there are fences, and the event channel has too many unread
     *         records: each fence may become one.
     * @throws the other errors of unlockWithFences(). After any error the grant goes on as it was.
     */
    void unlockBuffers(long token, in long[] buffers, in ReleaseFence[] fences);

    /**
     * Makes exclusive accesses of a grant shared: WRITE becomes READ, DMA_WRITE becomes DMA_READ.
     * Call it when the writes are finished, by devices too. Waiting readers are then granted, and
     * no other group can write until this grant has ended. As a writer the grant has ended in
     * order: it clears FLAG_TORN, and leaves no torn content if it is taken away later. Buffers
     * that it has shared already stay as they are. The group's access stays the one of add(): its
     * next lock() asks for that again.
     *
     * @param token as for unlock().
     * @param buffers as for unlockBuffers().
     * @throws EX_ILLEGAL_ARGUMENT, ERROR_UNKNOWN_BUFFER, ERROR_BUSY as in unlockBuffers().
     * @throws ERROR_BAD_TOKEN, ERROR_EVICTED as in unlock().
     */
    void downgrade(long token, in long[] buffers);

    /**
     * Closes the group in order: a waiting lock is cancelled, a grant is released as by unlock()
     * without a fence, the buffers are let go, and the event channel reports POLLHUP. Every later
     * call throws ERROR_CLOSED.
     */
    void close();
}
