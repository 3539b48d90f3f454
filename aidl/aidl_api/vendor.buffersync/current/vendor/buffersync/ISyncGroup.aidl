package vendor.buffersync;
@VintfStability interface ISyncGroup {
  long[] add(in android.hardware.common.NativeHandle handle, in vendor.buffersync.Access access);
  void remove(long bufferId);
  void removeAll();
  vendor.buffersync.LockReply lock(long timeoutNs);
  vendor.buffersync.LockReply tryLock();
  void cancel();
  @nullable ParcelFileDescriptor getAcquireFence(long token, long bufferId);
  void unlock(long token);
  void unlockWithFences(long token, in vendor.buffersync.ReleaseFence[] fences);
  vendor.buffersync.LockReply unlockAndLock(long token, long nextKey, long timeoutNs);
  vendor.buffersync.LockReply unlockWithFencesAndLock(long token, in vendor.buffersync.ReleaseFence[] fences, long nextKey, long timeoutNs);
  void close();
}
