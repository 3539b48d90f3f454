// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import android.hardware.common.NativeHandle;
import vendor.buffersync.Access;
import vendor.buffersync.LockReply;
import vendor.buffersync.LockState;
import vendor.buffersync.ReleaseFence;

/**
 * A client and the buffers that it has added. It locks some of them, or all, for one use: a lock is
 * a set of the group's buffers, each with an access, that are granted together. A group can have
 * many locks at once. Every method may throw ERROR_CLOSED. See IBufferSync for errors in general.
 *
 * The client names each lock with a positive number, greater than every number of this group
 * before. The service invents no names, so whatever message is lost, the client can name the lock:
 * unlock() ends it in any state, and getLocks() tells what there is. A lock is waiting (queued),
 * granted, or growing: it is granted and waits for more. When it has ended, its number is dead: a
 * call with it throws ERROR_EVICTED if the grant was taken away, or if a release fence of it has
 * failed (the group remembers its last 16), ERROR_ENDED otherwise. A number that the group has
 * passed over counts as ended. A greater number, 0 or less is ERROR_BAD_LOCK: no lock has been
 * accepted with it.
 *
 * A lock never waits for another lock of its own group: lock() and grow() throw
 * ERROR_ALREADY_LOCKED instead.
 *
 * Locks are served by age: a lock has a ticket from its request until it has been granted and
 * unlocked. A lock that ends without a grant (cancelled, unlocked, timed out or failed), and a
 * grant that was wounded, leave their ticket to the group's next lock(). The group keeps one such
 * ticket, the last. A ticket lives for Capabilities.maxHoldMs from the request that drew it, and
 * nothing renews it. A ticket that was kept passes no lock that came while it was kept: the new
 * lock draws a new ticket if a younger conflicting lock waits for a buffer for which somebody has
 * asked meanwhile, or which the old lock did not ask for, or not with such a strong access.
 *
 * The pictures show who waits for what when work is handed over with a fence (">" asks, "*" is
 * granted, "F" is the fence that the driver of the work made, "!" it signals; unlock(F) is
 * unlockBuffers() with this fence for all buffers):
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
     * timeoutNs of a lock that waits for no other client: ERROR_WOULD_BLOCK instead, also if the
     * CPU would have to wait for a release fence (a device is granted with the fence). The answer
     * can still be QUEUED, if the lock has all buffers and only cache maintenance must finish, or
     * if the service must look for a pending implicit fence. The service does not wait for such a
     * fence: if one is pending, LOCK_FAILED with FLAG_FENCE follows at once.
     */
    const long TRY = -1;

    /**
     * Adds the dma-bufs of a handle to the group. Other descriptors in the handle (a gralloc handle
     * carries metadata memory too) are skipped; the ints are ignored. In a handle without a dma-buf
     * the memfds (memfd_create(2), but not of huge pages) are the buffers: they are locked in the
     * same way, and need no cache maintenance, because only CPUs use them. The service keeps no
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
     * already, the stronger access applies (WRITE over READ, DMA_WRITE over DMA_READ). The locks
     * that the group has stay as they are.
     *
     * @param handle 1 to Capabilities.maxFdsPerHandle descriptors.
     * @param access the access of locks that name none.
     * @return the ids of the buffers, in the order of their first descriptor in the handle. An id
     *         means the same buffer in every group, for as long as any group has the buffer or the
     *         service remembers it.
     * @throws EX_ILLEGAL_ARGUMENT for an unknown access, a handle with no descriptors or more than
     *         Capabilities.maxFdsPerHandle, or a null one among them.
     * @throws ERROR_NOT_DMABUF if no descriptor is a dma-buf or a memfd.
     * @throws ERROR_QUOTA, ERROR_ACCESS_CONFLICT, ERROR_NO_RESOURCES.
     */
    long[] add(in NativeHandle handle, in Access access);

    /**
     * Removes buffers from the group, which must have no lock on them. All of them or, after an
     * error, none.
     *
     * @param buffers at most Capabilities.maxBuffersPerGroup; none: all buffers of the group. To
     *         name one twice is to name it once.
     * @throws EX_ILLEGAL_ARGUMENT for too many buffers.
     * @throws ERROR_UNKNOWN_BUFFER.
     * @throws ERROR_BUSY if a lock of the group waits for one of them or holds it.
     */
    void remove(in long[] buffers);

    /**
     * Locks buffers of the group, all or nothing. Returns at once: with GRANTED, or with QUEUED,
     * and then the grant comes through the event channel. The lock takes its place by age (its
     * ticket): on a buffer that two locks want with conflicting access, the older lock is served
     * first; a lock that conflicts with no lock ahead of it is granted without waiting.
     *
     * The group's hold limit counts from the grant, or from the first conflict
     * (GroupOptions.holdFrom); when it is over, the grant is taken away.
     *
     * A lock for the CPU waits for the implicit fences of its buffers too (see
     * GroupOptions.implicitFences), and fails if one does not signal (EventType.LOCK_FAILED). Only
     * this lock waits: devices and readers that may share the buffer with it can pass it.
     *
     * @param lock the number of the lock. A call that throws uses up no number.
     * @param buffers ids that add() returned, at most Capabilities.maxBuffersPerGroup; none: all
     *         buffers of the group. The stronger access counts for a buffer that is named twice.
     * @param accesses how each buffer is used, in the order of `buffers`; none: as add() said. It
     *         need not be the access of add().
     * @param timeoutNs the longest time to wait, in nanoseconds; 0 for no time-out: the deadlines
     *         of other holders bound the wait. After that time a TIMED_OUT record ends the lock.
     *         TRY (-1): do not wait for others.
     * @throws EX_ILLEGAL_ARGUMENT for a time-out below -1, too many buffers, an unknown access, or
     *         accesses that are not as many as the buffers.
     * @throws ERROR_BAD_LOCK for a number that is not greater than all before.
     * @throws ERROR_ALREADY_LOCKED if another lock of this group has one of the buffers, or waits
     *         for it, with a conflicting access.
     * @throws ERROR_ACCESS_CONFLICT if a buffer is named for the CPU and for a device.
     * @throws ERROR_EMPTY_GROUP, ERROR_UNKNOWN_BUFFER, ERROR_WOULD_BLOCK, ERROR_QUOTA,
     *         ERROR_EVENTS_UNREAD.
     */
    LockReply lock(long lock, in long[] buffers, in Access[] accesses, long timeoutNs);

    /**
     * Adds to a grant: more buffers, or a stronger access. The number and the deadline stay the
     * same, and the reply or the GRANTED record names all buffers. The lock keeps what it holds,
     * even if the growth fails. If it would have to wait while an older lock waits for a buffer
     * that it holds, the answer is ERROR_DEADLOCK; if an older lock comes later, the wait ends with
     * a WOUNDED record. If the life of its ticket is over, the answer is ERROR_DEADLOCK also if it
     * would pass a conflicting lock that already waits for the buffer.
     *
     * @param lock a lock that is granted.
     * @param buffers as for lock(). What the grant has already may be named.
     * @param accesses as for lock(). The grant keeps a stronger access that it has.
     * @param timeoutNs as for lock(). A TIMED_OUT record ends the wait, and not the grant.
     * @throws ERROR_BUSY if the lock waits, or grows already.
     * @throws ERROR_ALREADY_LOCKED if the grant lacks nothing of this, or as in lock().
     * @throws ERROR_BAD_LOCK, ERROR_ENDED, ERROR_EVICTED, ERROR_DEADLOCK, and the other errors of
     *         lock().
     */
    LockReply grow(long lock, in long[] buffers, in Access[] accesses, long timeoutNs);

    /**
     * Takes back what waits: a lock ends, or a growth ends and its grant goes on as it was. No
     * record of the wait follows. Unlike unlock(), it does not end a grant that came meanwhile.
     *
     * @throws ERROR_NOT_QUEUED if the lock is granted and does not grow; if it has waited, its
     *         record is in the event channel.
     * @throws ERROR_BAD_LOCK, ERROR_ENDED, ERROR_EVICTED.
     */
    void cancel(long lock);

    /**
     * Returns the fences that a grant's devices must wait for: the release fences of earlier
     * holders that have not signalled, and, with GroupOptions.implicitFences, the fences in the
     * dma-buf.
     *
     * @param lock a lock that is granted.
     * @param buffer one buffer of the grant; 0 for all of them.
     * @return a sync_file, in which several fences are merged; null if none is pending (any more).
     *         The service has opened the file, whoever made the fences: SELinux requires that the
     *         receiver of a descriptor has `fd use` on the domain that opened it.
     * @throws ERROR_BUSY if the lock still waits.
     * @throws ERROR_UNKNOWN_BUFFER if the grant has no such buffer.
     * @throws ERROR_NO_RESOURCES if no descriptor could be made.
     * @throws ERROR_BAD_LOCK, ERROR_ENDED, ERROR_EVICTED.
     */
    @nullable ParcelFileDescriptor getAcquireFence(long lock, long buffer);

    /**
     * Ends a lock, whatever it is: a grant, whose work is finished; a growth with its grant; a lock
     * that waits. No GRANTED record follows, but one may be in the event channel already.
     *
     * @throws ERROR_BAD_LOCK, ERROR_ENDED, ERROR_EVICTED.
     */
    void unlock(long lock);

    /**
     * Ends a part of a grant, or all of it, with or without fences. The buffers with fences still
     * belong to their holder until the fences have signalled. A device that is next is granted such
     * a buffer at once and gets the fences as its acquire fence; the CPU is granted it when the
     * fences have signalled. Only writers wait for a reader's fence. A fence that fails, or has not
     * signalled when the group's hold limit has passed since the unlock, counts as an eviction.
     *
     * After a part the grant goes on for the others, with the same number and deadline. When its
     * last buffer is let go, it has ended. The group still has the buffers: another lock, or
     * grow(), can have them again.
     *
     * @param lock a lock that is granted.
     * @param buffers at most Capabilities.maxBuffersPerGroup; none: all buffers of the grant, and
     *         then a growth ends too. To name one twice is to name it once.
     * @param fences one fence for all of these buffers, or fences for single ones: see
     *         ReleaseFence. At most one more than the group can have buffers. The work on a buffer
     *         without a fence is finished.
     * @throws EX_ILLEGAL_ARGUMENT for too many buffers or fences.
     * @throws ERROR_BAD_LOCK, ERROR_ENDED, ERROR_EVICTED.
     * @throws ERROR_BUSY if the lock is not granted, or if buffers are named and it grows.
     * @throws ERROR_UNKNOWN_BUFFER if the grant does not have one of the buffers, or a fence is for
     *         another buffer.
     * @throws ERROR_BAD_FENCE if a descriptor is not a sync_file.
     * @throws ERROR_QUOTA if too many release fences of the group or the uid are pending, or if one
     *         consists of more than ReleaseFence.MAX_FENCES fences.
     * @throws ERROR_EVENTS_UNREAD if the event channel has too many unread records for the fences:
     *         each may become one.
     * @throws ERROR_NO_RESOURCES. After any error the grant goes on as it was.
     */
    void unlockBuffers(long lock, in long[] buffers, in ReleaseFence[] fences);

    /**
     * Makes exclusive accesses of a grant shared: WRITE becomes READ, DMA_WRITE becomes DMA_READ.
     * Call it when the writes are finished, by devices too. Waiting readers are then granted, and
     * no other lock can write until this grant has ended. As a writer the grant has ended in order:
     * it clears FLAG_TORN, and leaves no torn content if it is taken away later. Buffers that it
     * has shared already stay as they are. grow() can make the access exclusive again.
     *
     * @param lock a lock that is granted.
     * @param buffers at most Capabilities.maxBuffersPerGroup; none: all buffers of the grant.
     * @throws EX_ILLEGAL_ARGUMENT, ERROR_BAD_LOCK, ERROR_ENDED, ERROR_EVICTED, ERROR_UNKNOWN_BUFFER
     *         as in unlockBuffers(); ERROR_BUSY if the lock waits or grows.
     */
    void downgrade(long lock, in long[] buffers);

    /**
     * Ends a grant like unlockBuffers() without named buffers, then locks like lock(): a frame's
     * next use in one call instead of two. Both happen, or neither. The new lock may have buffers
     * of the old one.
     *
     * @param done the grant that ends.
     * @param fences as for unlockBuffers().
     * @param lock the number of the new lock.
     * @param buffers, accesses, timeoutNs as for lock(), but not TRY.
     * @return what lock() would return.
     * @throws the errors of unlockBuffers() and of lock(). After any error the grant is as it was
     *         before, and nothing is locked.
     */
    LockReply unlockAndLock(long done, in ReleaseFence[] fences, long lock, in long[] buffers,
            in Access[] accesses, long timeoutNs);

    /**
     * Returns the group's locks, the oldest number first: for a client that does not know what
     * became of a call, and for its own dumps. What is not here has ended or never was.
     */
    LockState[] getLocks();

    /**
     * Returns the name of a group, for a client that was told of a lock in its way (TIMED_OUT,
     * EVICTED). A client may know the names of its own uid's groups; root and the system may know
     * all.
     *
     * @param group the number of an open group, as records and dumps say it.
     * @return null if no open group has this number, or if the caller may not know it.
     */
    @nullable @utf8InCpp String getGroupName(long group);

    /**
     * Closes the group in order: waiting locks are cancelled, grants are released as by unlock(),
     * the buffers are let go, and the event channel reports POLLHUP. Every later call throws
     * ERROR_CLOSED.
     */
    void close();
}
