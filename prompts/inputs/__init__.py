"""What templates show: retrieval's objects as plain values, with every string sanitised."""
