"""What the clients' tests share: a scripted other side of the socket, and running the clients as processes."""
