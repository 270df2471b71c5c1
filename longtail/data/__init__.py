"""From images to manifests: pools, profiles, selection, lists and folders of image files."""
