package vendor.buffersync;
@VintfStability parcelable GrantedBuffer {
  long bufferId;
  long generation;
  boolean evicted;
  boolean fenced;
}
