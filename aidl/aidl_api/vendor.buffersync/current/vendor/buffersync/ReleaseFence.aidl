package vendor.buffersync;
@VintfStability parcelable ReleaseFence {
  long bufferId = 0;
  ParcelFileDescriptor fence;
}
