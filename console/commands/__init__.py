"""The sub-commands of `callwarden`, a file for each thing that a person comes with.

engine      up, run, health, settings, version
demo        demo
calls       import, search, show
rules       rules check, rules list
people      users add
auditing    audit export, audit verify
index       index status, index rebuild
options     what several of them share: the data folder, the settings file, output
"""
