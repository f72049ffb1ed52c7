"""What the broker's tests share: people with keys, meshes they made, and brokers to stand before."""
