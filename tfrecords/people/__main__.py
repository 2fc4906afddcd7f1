"""`python -m tfrecords.people`, see `tfrecords.people.command`."""

from tfrecords.people import command
from tfrecords.utils import commandline

if __name__ == "__main__":
    command.define_flags()
    commandline.run(command.main, command.__doc__)
