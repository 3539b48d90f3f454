/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

import java.io.FileDescriptor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import vendor.buffersync.BufferSyncException;

/**
 * Calls every native method with random arguments, in random order: no argument and no state may end the virtual
 * machine. (A panic of the library would.) It calls below the public classes, because they check some arguments
 * themselves. Some arguments are left out, because no library can check them: invented addresses, and descriptors
 * that other code closes.
 *
 * <pre>Anything DMABUF_FD DMABUF_FD CALLS SEED</pre>
 */
final class Anything {
    private static final int[] ACCESSES = {1, 2, 4, 8, 0, -1, 3, 5, 6, Integer.MIN_VALUE};
    private static final long[] NUMBERS = {0, 1, 2, 3, 4, 5, -1, Long.MAX_VALUE, Long.MIN_VALUE};

    private final Random random;
    private final int[] dmabufs;
    private final List<Long> syncs = new ArrayList<>();
    private final List<Long> groups = new ArrayList<>();
    /** The mappings that are not unmapped yet. */
    private final List<long[]> mapped = new ArrayList<>();
    /** The descriptors that end a wait for a fence, and are not closed yet. */
    private final List<Integer> wakers = new ArrayList<>();

    private Anything(int[] dmabufs, long seed) {
        this.random = new Random(seed);
        this.dmabufs = dmabufs;
    }

    public static void main(String[] args) throws Exception {
        int[] dmabufs = {Integer.parseInt(args[0]), Integer.parseInt(args[1])};
        new Anything(dmabufs, Long.parseLong(args[3])).run(Integer.parseInt(args[2]));
    }

    private void run(int calls) throws Exception {
        List<Method> methods = new ArrayList<>();
        for (Method method : Class.forName("vendor.buffersync.Native").getDeclaredMethods()) {
            if (Modifier.isNative(method.getModifiers())) {
                method.setAccessible(true);
                methods.add(method);
            }
        }
        // Sorted, because reflection returns them in any order.
        methods.sort(Comparator.comparing(Method::getName));
        int refused = 0;
        for (int i = 0; i < calls; i++) {
            Method method = methods.get(random.nextInt(methods.size()));
            refused += call(method) ? 0 : 1;
        }
        if (refused == 0 || refused == calls) {
            throw new AssertionError(refused + " of " + calls + " calls were refused");
        }
    }

    /** Returns true for success. Only declared exceptions may be thrown, and Java's own for null and types. */
    private boolean call(Method method) throws Exception {
        Object[] arguments = arguments(method);
        try {
            keep(method.getName(), method.invoke(null, arguments));
            return true;
        } catch (InvocationTargetException e) {
            Throwable cause = e.getCause();
            if (cause instanceof BufferSyncException
                    || cause instanceof NullPointerException
                    || cause instanceof IllegalArgumentException) {
                return false;
            }
            throw new AssertionError(method.getName() + Arrays.deepToString(arguments), cause);
        }
    }

    private Object[] arguments(Method method) throws Exception {
        switch (method.getName()) {
            case "connect":
                return new Object[] {seldom() ? text() : "/dev/binder",
                        seldom() ? text() : "vendor.buffersync.IBufferSync/default"};
            case "view":
            case "unmap":
                return mapping(method.getName().equals("unmap"));
            case "closeFd":
                return new Object[] {random.nextBoolean() ? takenFd() : waker(true)};
            case "wake":
                return new Object[] {waker(false)};
            case "add":
            case "map":
                return new Object[] {group(), fds(false), access()};
            case "openGroup":
                return new Object[] {sync(), seldom() ? text() : "anything", hold(),
                        random.nextBoolean(), seldom()};
            case "waitFence":
                return new Object[] {fd(), waker(false), timeout()};
            case "startLock":
                return new Object[] {group(), numbers(), accesses(), timeout()};
            case "tryLock":
                return new Object[] {group(), numbers(), accesses()};
            case "startGrow":
                return new Object[] {group(), number(), numbers(), accesses(), timeout()};
            case "tryGrow":
                return new Object[] {group(), number(), numbers(), accesses()};
            case "checkHeld":
                return new Object[] {group(), number(), number(), access()};
            case "unlock":
                return new Object[] {group(), number(), numbers(), fds(true)};
            case "unlockBuffers":
                return new Object[] {group(), number(), numbers(), numbers(), fds(true)};
            case "downgrade":
                return new Object[] {group(), number(), numbers()};
            case "startUnlockAndLock":
                return new Object[] {group(), number(), numbers(), fds(true), numbers(), accesses(),
                        timeout()};
            case "getFd":
                return new Object[] {seldom() ? null : new FileDescriptor()};
            case "setFd":
                return new Object[] {seldom() ? null : new FileDescriptor(), fd()};
            case "disconnect":
            case "capabilities":
            case "dump":
                return new Object[] {sync()};
            default:
                break;
        }
        Class<?>[] types = method.getParameterTypes();
        Object[] arguments = new Object[types.length];
        for (int i = 0; i < types.length; i++) {
            if (types[i] == long.class) {
                arguments[i] = i == 0 ? group() : number();
            } else if (types[i] == int.class) {
                arguments[i] = fd();
            } else if (types[i] == boolean.class) {
                arguments[i] = random.nextBoolean();
            } else {
                arguments[i] = seldom() ? null : "no HardwareBuffer";
            }
        }
        return arguments;
    }

    private void keep(String name, Object result) {
        switch (name) {
            case "connect":
                syncs.add((Long) result);
                break;
            case "openGroup":
                groups.add((Long) result);
                break;
            case "map":
                long[] values = (long[]) result;
                for (int at = 0; at < values.length; at += 3) {
                    mapped.add(new long[] {values[at + 1], values[at + 2]});
                }
                break;
            case "openWaker":
                wakers.add((Integer) result);
                break;
            default:
                break;
        }
    }

    /** A descriptor that the library gave, or none. */
    private int waker(boolean last) {
        if (wakers.isEmpty() || seldom()) {
            return -1;
        }
        int at = random.nextInt(wakers.size());
        return last ? wakers.remove(at) : wakers.get(at);
    }

    private int access() {
        return ACCESSES[random.nextInt(ACCESSES.length)];
    }

    private boolean seldom() {
        return random.nextInt(20) == 0;
    }

    private long number() {
        return NUMBERS[random.nextInt(NUMBERS.length)];
    }

    private long[] numbers() {
        if (seldom()) {
            return null;
        }
        long[] numbers = new long[random.nextInt(4)];
        Arrays.setAll(numbers, i -> number());
        return numbers;
    }

    private int[] accesses() {
        int[] accesses = new int[random.nextInt(4)];
        Arrays.setAll(accesses, i -> access());
        return accesses;
    }

    /** A handle that the library gave, maybe a stale one. The newest are mostly open. */
    private long any(List<Long> handles) {
        if (handles.isEmpty() || seldom()) {
            return number();
        }
        return handles.get(handles.size() - 1 - random.nextInt(Math.min(4, handles.size())));
    }

    private long sync() {
        return any(syncs);
    }

    private long group() {
        return any(groups);
    }

    private Object[] mapping(boolean last) {
        if (mapped.isEmpty() || seldom()) {
            return new Object[] {0L, random.nextBoolean() ? 0L : number()};
        }
        int at = random.nextInt(mapped.size());
        long[] mapping = last ? mapped.remove(at) : mapped.get(at);
        return new Object[] {mapping[0], mapping[1]};
    }

    private int fd() {
        int[] fds = {dmabufs[0], dmabufs[1], dmabufs[0], -1, -2, 1 << 20, Integer.MIN_VALUE};
        return fds[random.nextInt(fds.length)];
    }

    /** A descriptor that the library closes. */
    private int takenFd() throws Exception {
        if (random.nextBoolean()) {
            int[] none = {-1, -2, 1 << 20, Integer.MIN_VALUE};
            return none[random.nextInt(none.length)];
        }
        Method duplicate =
                Class.forName("vendor.buffersync.Native").getDeclaredMethod("duplicate", int.class);
        duplicate.setAccessible(true);
        return (Integer) duplicate.invoke(null, dmabufs[0]);
    }

    private int[] fds(boolean taken) throws Exception {
        if (seldom()) {
            return null;
        }
        int[] fds = new int[random.nextInt(4)];
        for (int i = 0; i < fds.length; i++) {
            fds[i] = taken ? takenFd() : fd();
        }
        return fds;
    }

    private String text() {
        String[] texts = {null, "", "\u0000", "\ud800", "\n", "x".repeat(70000), "/", "/dev/null"};
        return texts[random.nextInt(texts.length)];
    }

    /** Few locks wait long: a grant of these groups lasts some milliseconds. */
    private long timeout() {
        long[] brief = {0, 1, 1000, 1000000};
        return seldom() ? number() : brief[random.nextInt(brief.length)];
    }

    private long hold() {
        return seldom() ? number() : 1000000;
    }
}
