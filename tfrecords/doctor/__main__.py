"""`python -m tfrecords.doctor`, see `tfrecords.doctor.command`."""

from tfrecords.doctor import command
from tfrecords.utils import commandline

if __name__ == "__main__":
    command.define_flags()
    commandline.run(command.main, command.__doc__)
