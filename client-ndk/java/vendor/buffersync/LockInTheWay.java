/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.io.Serializable;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A lock that another one waited for, or that waited for a grant that was taken away. Immutable. */
public final class LockInTheWay implements Serializable {
    private static final long serialVersionUID = 1L;

    /** The number of the group. */
    private final long group;

    /** The number of the lock. */
    private final long lock;

    /** The name of the group. */
    private final @Nullable String owner;

    private LockInTheWay(long group, long lock, @Nullable String owner) {
        this.group = group;
        this.lock = lock;
        this.owner = owner;
    }

    /** Group 0 means that there is no such lock. */
    static @Nullable LockInTheWay of(long group, long lock, @Nullable String owner) {
        return group == 0 ? null : new LockInTheWay(group, lock, owner);
    }

    /**
     * The number that the service has given the lock's group. Dumps have it too.
     *
     * @return the number
     */
    public long getGroup() {
        return group;
    }

    /**
     * The number of the lock in its group.
     *
     * @return the number
     */
    public long getLock() {
        return lock;
    }

    /**
     * The name of the group.
     *
     * @return null if this process may not know it: the group belongs to another uid, or was closed. An
     *     event has no name either, see {@link SyncGroup#getNameOf}
     */
    public @Nullable String getOwner() {
        return owner;
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof LockInTheWay
                && ((LockInTheWay) other).group == group
                && ((LockInTheWay) other).lock == lock
                && Objects.equals(((LockInTheWay) other).owner, owner);
    }

    @Override
    public int hashCode() {
        return Objects.hash(group, lock, owner);
    }

    @Override
    public String toString() {
        String name = owner == null ? "" : " (" + owner + ")";
        return "LockInTheWay[lock " + lock + " of group " + group + name + "]";
    }
}
