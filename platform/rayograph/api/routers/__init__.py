"""The endpoints, by subject: a router a file, each named in ROUTERS."""

from rayograph.api.routers import control, image_files, progress, session, submissions

ROUTERS = (session.router, submissions.router, progress.router, control.router, image_files.router)
