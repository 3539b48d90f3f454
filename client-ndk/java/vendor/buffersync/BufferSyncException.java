/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.io.IOException;
import org.jspecify.annotations.Nullable;

/**
 * A call failed. {@link #getCode} tells the reason to a program, {@link #getMessage} to a person: the
 * value, the limit, and what to do.
 */
public class BufferSyncException extends IOException {
    private static final long serialVersionUID = 1L;

    /** The reason of the failure: javadoc shows the fields of a class that can be serialized. */
    private final ErrorCode code;

    /** The lock in the way. */
    private final @Nullable LockInTheWay lockInTheWay;

    /** The native library calls this. */
    BufferSyncException(int code, String message, long group, long lock, @Nullable String owner) {
        super(message);
        this.code = ErrorCode.of(code);
        this.lockInTheWay = LockInTheWay.of(group, lock, owner);
    }

    BufferSyncException(ErrorCode code, String message) {
        super(message);
        this.code = code;
        this.lockInTheWay = null;
    }

    /**
     * The reason of the failure.
     *
     * @return the code
     */
    public ErrorCode getCode() {
        return code;
    }

    /**
     * The lock that was in the way: for {@link ErrorCode#TIMED_OUT} one that the lock waited for, for
     * {@link ErrorCode#EVICTED} one that was waiting for the grant.
     *
     * @return null if the service named none: it waited for a fence or for cache maintenance only, or
     *     the service does not answer
     */
    public @Nullable LockInTheWay getLockInTheWay() {
        return lockInTheWay;
    }

    @Override
    public String toString() {
        return getClass().getName() + ": " + code + ": " + getMessage();
    }
}
