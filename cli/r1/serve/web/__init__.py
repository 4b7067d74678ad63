"""The web server: the application with all APIs, who may use it, the log, and the socket."""
