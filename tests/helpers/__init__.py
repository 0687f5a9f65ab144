"""What tests share: toy policies and rewards, random models, another device, a server, a browser."""
